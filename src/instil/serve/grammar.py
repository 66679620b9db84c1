"""`response_format`: answers that are JSON, of a schema or of any, token by token through llguidance. What cannot be had is an error."""

import functools
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from instil.serve.problems import Problem
from instil.serve.schema import ResponseFormat
from instil.serve.values import Constraint, Served

COMPACT: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""A small model that may write white space between two fields writes nothing else until it is cut."""


def constraint_of(wanted: ResponseFormat, served: Served) -> Callable[[], Constraint]:
    """What an answer of this format must keep to. Raises Problem (400) where that cannot be had."""
    try:
        import llguidance
    except ImportError:
        raise Problem(400, "response_format needs llguidance on the server: pip install 'instil[serve]'", "response_format") from None
    schema: Any = {"type": "object"} if wanted.json_schema is None else wanted.json_schema.schema_
    try:
        grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), defaults=COMPACT)
        tokenizer = _tokenizer_of(served)
        wrong = llguidance.LLMatcher.validate_grammar(grammar, tokenizer)
    except (ValueError, RecursionError) as error:
        wrong = str(error)
    if wrong:
        raise Problem(400, f"response_format: this schema cannot be kept to ({wrong.strip().splitlines()[0]})", "response_format")
    return functools.partial(Kept, tokenizer, grammar)


@functools.lru_cache(maxsize=8)
def _tokenizer_of(served: Served) -> Any:
    import llguidance

    ends = list(served.stop_ids)
    return llguidance.LLTokenizer(served.tokenizer.backend.to_str(), eos_token=ends or None)


class Kept:
    """A `Constraint`: an llguidance matcher over one answer."""

    def __init__(self, tokenizer: Any, grammar: str):
        import llguidance
        from llguidance.numpy import allocate_token_bitmask

        self._matcher = llguidance.LLMatcher(tokenizer, grammar)
        self._bits = allocate_token_bitmask(1, tokenizer.vocab_size)
        self._size = tokenizer.vocab_size

    def allowed(self) -> np.ndarray:
        from llguidance.numpy import fill_next_token_bitmask

        fill_next_token_bitmask(self._matcher, self._bits, 0)
        return np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: self._size].astype(bool)

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)
