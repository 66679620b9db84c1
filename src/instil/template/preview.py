"""The tokens of a row as people can look at them: the very arrays that are trained, nothing rendered again."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from instil.core.values import Path
from instil.template.contract import Contract

OPENS, CLOSES = "⟦", "⟧"  # around the trained part, so that it is seen without colour, too


@dataclass(frozen=True)
class Token:
    """`kind`: context, trained or stop. `control`: matched whole, written by the template only. `text` is "" inside a character."""

    id: int
    text: str
    kind: str
    control: bool


@dataclass(frozen=True)
class Example:
    """One path: its tokens, how many of them are context, and how many at the front stood in the example before it too."""

    tokens: tuple[Token, ...]
    num_context: int
    num_repeated: int
    weight: float

    @property
    def num_trained(self) -> int:
        return len(self.tokens) - self.num_context


def examples_of(paths: Sequence[Path], contract: Contract) -> list[Example]:
    """The paths of one row, in order."""
    found: list[Example] = []
    before: list[int] = []
    for path in paths:
        ids = path.tokens.tolist()
        repeated = next((i for i, (a, b) in enumerate(zip(before, ids, strict=False)) if a != b), min(len(before), len(ids)))
        tokens = tuple(
            _token(i, t, k, path.num_context, contract) for k, (i, t) in enumerate(zip(ids, contract.tokenizer.pieces(ids), strict=True))
        )
        found.append(Example(tokens, path.num_context, min(repeated, path.num_context), path.weight))
        before = ids
    return found


def _token(id: int, text: str, place: int, num_context: int, contract: Contract) -> Token:
    kind = "context" if place < num_context else "stop" if id in contract.stop_ids else "trained"
    return Token(id, text, kind, text in contract.controls)


def as_text(example: Example) -> Text:
    """For the terminal: `│` between tokens, brackets around the trained part, line breaks shown and made."""
    styles = {"context": "dim", "trained": "bold green", "stop": "bold white on green"}
    text = Text()
    if example.num_repeated:
        text.append(f"... {example.num_repeated} tokens as before ...\n", "italic dim")
    for place, token in enumerate(example.tokens):
        if place < example.num_repeated:
            continue
        if place == example.num_context:
            text.append(OPENS, "bold")
        elif place > example.num_repeated:
            text.append("│", "dim")
        style = "cyan" if token.control and token.kind == "context" else styles[token.kind]
        text.append(visible(token.text), style)
    return text.append(CLOSES, "bold")


# Unicode's pictures of control characters: a terminal would obey some of them and drop others.
SIGNS = {code: chr(0x2400 + code) for code in range(32)} | {127: "␡", ord("\t"): "→", ord("\n"): "↵\n"}


def visible(text: str) -> str:
    """Control characters as signs, line breaks kept; a dot for a token that ends inside a character."""
    return text.translate(SIGNS) if text else "·"
