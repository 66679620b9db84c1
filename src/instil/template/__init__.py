"""Conversations -> paths: what will be served, and the proof that it is.

tokenizer.py  a tokenizer without torch: encode, decode, control tokens, BOS
render.py     a Jinja chat template, rendered as transformers renders it
builtin.py    chatml, alpaca, zephyr, llama3
probes.py     what a template does, asked of it: stop tokens, BOS, control tokens, what it shows
contract.py   the chat contract of a run: template, options, BOS rule, stop tokens, control tokens
options.py    the template's own switches, chosen by what makes the data exact
turns.py      one trained turn as text: the server's prompt, the answer, and the proof that nothing else is trained
paths.py      one conversation -> its paths in tokens, or a refusal with its reason
preview.py    the tokens of a row as people can look at them
saved.py      the contract on disk, in the files that servers read
"""
