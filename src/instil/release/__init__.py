"""Release: the tuned model in the forms that others load, each written from the chat contract and each asked afterwards.

export         one target after another: written, asked, and only then given its name
materials      what the checks ask: texts, conversations, tools
expected       what the trained model says to them
parity         what was checked of an export, and whether it passed
hf             a folder for plain transformers, merged weights, an adapter for plain peft
hf_parity      the checks of such a folder
gguf           one file for llama.cpp and what is built on it
gguf_families  how each family of models is laid out in it, gguf_layout: what its config becomes
gguf_source    weights read a few rows at a time, gguf_types: how they are stored
gguf_vocabulary  the tokenizer, gguf_splits: how it cuts text, in llama.cpp's names
gguf_parity    the checks of such a file, by llama.cpp itself
go_template    the contract's template in Go's syntax, as Ollama renders prompts
ollama         Modelfile
facts          what a run's files say about it
card           README.md of an export, made from them
"""
