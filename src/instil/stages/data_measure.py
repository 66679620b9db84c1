"""What several verbs measure of rows: their tokens, with and without what a chat template adds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from instil.batch.store import cache_folder
from instil.core.errors import Refused
from instil.core.lineage import Value
from instil.core.values import Conversation, Message, Tokenizer
from instil.model.resolve import resolve_tokenizer
from instil.template.contract import Contract, make_contract
from instil.template.tokenizer import read_resolved


def tokenizer_file(model: str | None) -> str | None:
    """The tokenizer of a model as a file that any process can read. Raises UserError."""
    return str(resolve_tokenizer(model, cache_folder()).absolute()) if model else None


def token_counter(model: str | None) -> Callable[[str], int] | None:
    """Text -> its tokens, None without a model. Raises UserError."""
    file = tokenizer_file(model)
    encoder = read_resolved(Path(file)) if file else None
    return (lambda text: len(encoder.encode(text))) if encoder else None


def token_counts(values: Sequence[Value], encoder: Tokenizer | None) -> list[int | None]:
    """Tokens of each row's turns and reasoning, without what a template adds; None without a tokenizer."""
    if encoder is None:
        return [None] * len(values)
    texts = [[m.content, *([m.reasoning] if m.reasoning else [])] for value in values for m in turns_of(value)]
    encoded = iter(encoder.encode_batch([text for some in texts for text in some]))
    lengths = iter([sum(len(next(encoded)) for _ in some) for some in texts])
    return [sum(next(lengths) for _ in turns_of(value)) for value in values]


@dataclass(frozen=True, slots=True)
class TemplateCounter:
    """Counts what a chat template makes of rows. `plain` and `with_tools` differ only for a model with a template of its own for tools."""

    plain: Contract
    with_tools: Contract

    def counts(self, values: Sequence[Value]) -> list[tuple[int, int] | None]:
        """(tokens of the row as the template writes it, how many of them the template adds); None where it refuses the row.

        Of a preference both sides count, each behind its prompt. Where the template drops reasoning it adds less than nothing.
        """
        sides = [_sides(value) for value in values]
        texts = [self._rendered(some) for some in sides]
        taken = [number for number, text in enumerate(texts) if text is not None]
        encoder = self.plain.tokenizer
        whole = iter(encoder.encode_batch([text for number in taken for text in texts[number] or ()]))
        bare = iter(token_counts([side for number in taken for side in sides[number]], encoder))
        found: list[tuple[int, int] | None] = [None] * len(values)
        for number in taken:
            total = sum(len(next(whole)) for _ in sides[number])
            found[number] = total, total - sum(next(bare) or 0 for _ in sides[number])
        return found

    def _rendered(self, sides: Sequence[Conversation]) -> list[str] | None:
        try:
            return [(self.with_tools if side.tools else self.plain).render(side.messages, side.tools) for side in sides]
        except Refused:
            return None


def template_counter(tokenizer: str, template: str | None, where: str) -> TemplateCounter | None:
    """Of a tokenizer file and a recipe's `template:`; None where none is named and the model has none. Raises UserError for one that cannot
    be used."""
    encoder = read_resolved(Path(tokenizer))
    if template is None and "default" not in encoder.templates:
        return None
    plain, tools = (make_contract(encoder, template or "own", where=where, with_tools=tools, allow=("no_stop",)) for tools in (False, True))
    return TemplateCounter(plain, tools)


def turns_of(value: Value) -> tuple[Message, ...]:
    """Every turn; of a preference the prompt's and both sides'."""
    return value.messages if isinstance(value, Conversation) else (*value.prompt, *value.chosen, *value.rejected)


def _sides(value: Value) -> list[Conversation]:
    """The row as conversations: one, or of a preference those that end in the chosen and in the rejected answer."""
    if isinstance(value, Conversation):
        return [value]
    return [Conversation(messages=(*value.prompt, *side), tools=value.tools) for side in (value.chosen, value.rejected) if side]


def as_conversation(value: Value) -> Conversation:
    """A preference with the answer that was liked better, or the only one, as if it were the conversation."""
    if isinstance(value, Conversation):
        return value
    return Conversation(messages=(*value.prompt, *(value.chosen or value.rejected)), tools=value.tools, task=value.task)
