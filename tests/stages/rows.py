"""Rows, and what became of them in words."""

from typing import Any

from instil.stages.prepare import Data
from tests.fakes import BOS, EOS


def alpacas(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"instruction": f"Name number {n}.", "output": f"It is {n}."} for n in range(start, start + count)]


def chat(*texts: str, system: str | None = None, **fields: Any) -> dict[str, Any]:
    """A row of messages: user, assistant, user, ..."""
    turns = [{"role": "assistant" if k % 2 else "user", "content": text} for k, text in enumerate(texts)]
    return {"messages": [{"role": "system", "content": system}, *turns] if system is not None else turns, **fields}


def outcomes(data: Data) -> list[str]:
    return [entry.outcome for entry in data.entries()]


def examples(data: Data, source: int = 0) -> list[list[tuple[str, str]]]:
    """(context, completion) of every path of every row of a source, decoded."""
    decode, store = data.contract.tokenizer.decode, data.stores[source]
    paths = (store.paths(row) for row in range(len(store)))
    return [[(decode(p.tokens[: p.num_context].tolist()), decode(p.tokens[p.num_context :].tolist())) for p in row] for row in paths]


def written(*turns: tuple[str, str]) -> str:
    """The prompt that the fake model's template writes for these turns."""
    return BOS + "".join(f"{role}: {text}{EOS}\n" for role, text in turns) + "assistant: "


def trained(data: Data) -> list[tuple[int, ...]]:
    """Tokens of every path of every step."""
    return [tuple(path.tokens.tolist()) for step in range(data.num_steps()) for path in data.paths_at(step)]
