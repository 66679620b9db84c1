"""Release: the tuned model in the forms that others load, each written from the chat contract and each asked afterwards.

hf             a folder for plain transformers, a merged one, an adapter for plain peft
go_template    the contract's template in Go's syntax, as Ollama renders prompts
ollama         Modelfile
card           README.md of a model
parity         what was checked of an export, and whether it passed
hf_parity      the checks of a folder that transformers or peft loads
materials      what the checks ask: texts, conversations, tools
"""
