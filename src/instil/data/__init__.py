"""From what people keep (files, folders, hub datasets) to `Conversation` values, every row accounted for.

The way of a row, and the module that each step lives in:

    files.py, hub.py      `Source.path` -> files, each with the name that the ledger shows
    streams.py            file -> bytes, decompressed -> text, with true byte positions when it is not UTF-8
    readers.py            file -> rows one after another (JSONL, CSV, Parquet; what a file is, its content decides)
    json_text.py          JSON arrays larger than memory, element by element
    detect.py             row -> name of its format, or what it is instead and what it lacks
    formats.py            row -> Conversation, one function per format, in the plain dict `FORMATS`
    fields.py, turns.py, tools.py    what the formats share: typed fields, one turn, tool calls and definitions
    source.py             all of the above for one `Source` of a recipe: `read_source`
    split.py              hold-out and duplicates, from content hashes

A new format is a function `dict -> Conversation` and an entry in `formats.FORMATS`, `formats.NEEDS` and `detect.detect`.
"""
