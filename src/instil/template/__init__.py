"""Conversations -> paths: what will be served, and the proof that it is.

tokenizer.py  a tokenizer without torch: encode, decode, control tokens, BOS
render.py     a Jinja chat template, rendered as transformers renders it
builtin.py    chatml, alpaca, zephyr, llama3
contract.py   the chat contract of a run: template, options, BOS rule, stop tokens, control tokens
paths.py      one conversation -> its paths, each with its certificate, or a refusal with its reason
preview.py    the tokens of a row as people can look at them
"""
