"""Paths -> steps of rows. NumPy only; no torch, no tokenizer, no file format of anybody else.

- `store`: prepared rows as a folder of memory-mapped arrays, written once, opened in milliseconds;
- `order`: which rows step s takes: a pure function of (seed, s), with epochs and weights per source;
- `trie`: the paths of one step as depth-first trees in rows of at most `max_tokens` tokens, each shared prefix once;
- `share`: the same for several ranks: rows of nearly equal cost, and who computes which.

A step of training: `order.batch_at(s)` names rows, `store.paths(row)` gives their paths, `lay_out(paths, max_tokens)` the rows to compute.
"""
