"""The chat contract of a run: everything that decides which tokens a conversation becomes and where an answer stops.

It is settled once, by probing the template with tiny conversations, before any row is prepared. Training, chat, server and export all
use the same value, so none of them can differ from another.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from instil.core.errors import Refused, UserError, nearest
from instil.core.values import Message
from instil.template.builtin import BUILTIN
from instil.template.probes import controls_of, pattern_of, remarks_on, settle_bos, settle_parts, shown_by, stop_ids_of
from instil.template.render import ChatTemplate, check_syntax, map_text, map_value, texts_in, texts_of
from instil.template.tokenizer import ChatTokenizer, choose_template

# Parts a control token's string where text is escaped: no tokenizer's added tokens hold it, and it is gone before encoding.
SEAM = "\ue0f1"

# What every template is given; no option of the recipe may take these names.
GIVEN = ("messages", "tools", "documents", "add_generation_prompt")


@dataclass(frozen=True)
class Contract:
    """`stop_ids`: tokens that end an answer. `controls`: strings that only the template may write. `shows`: what the template renders of
    {system, tool, tools, tool_calls, reasoning}. `escape`: control tokens' strings in text are spelled as plain text. `input_joint`: what
    stands between instruction and input of rows that have both. `notes`: what was found out and decided, in sentences for the person who
    starts the run. `anchor`: text behind which an escaped spelling goes on, for tokenizers that begin every text with a space.
    """

    tokenizer: ChatTokenizer
    template: ChatTemplate
    name: str
    stop_ids: tuple[int, ...]
    controls: tuple[str, ...]
    shows: frozenset[str]
    escape: bool = False
    input_joint: str = "\n\n"
    notes: tuple[str, ...] = ()
    anchor: str = ""

    @functools.cached_property
    def stops(self) -> tuple[str, ...]:
        """The stop tokens' strings."""
        return tuple(self.tokenizer.decode([i]) for i in self.stop_ids)

    @functools.cached_property
    def control_ids(self) -> frozenset[int]:
        return frozenset(i for c in self.controls if (i := self.tokenizer.id_of(c)) is not None)

    def forbidden(self, role: str) -> re.Pattern[str]:
        """What text of this role must not contain. An assistant may write the format's own markers (`<think>`, `<tool_call>`), but never a
        special token or one that stops."""
        return self._forbidden[role == "assistant"]

    @functools.cached_property
    def _forbidden(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        special = [c for c in self.controls if self.tokenizer.added_tokens.get(c, True)]
        return pattern_of(self.controls), pattern_of([*special, *self.stops])

    def written(self, text: str, role: str) -> str:
        """`text` as a conversation's author means it: where control tokens' strings are escaped, SEAM parts them."""
        if not self.escape:
            return text
        parted, pattern = text, self.forbidden(role)
        while found := [m for m in pattern.finditer(parted) if len(m[0]) > 1]:  # what is left of one may hold another
            for m in reversed(found):
                parted = f"{parted[: m.start() + 1]}{SEAM}{parted[m.start() + 1 :]}"
        return parted

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), generate: bool = False) -> str:
        """The text of a conversation, with a SEAM wherever `written` puts one; `encode` takes it out again."""
        if self.escape:
            messages = [map_text(m, functools.partial(self.written, role=m.role)) for m in messages]
            tools = map_value(tools, functools.partial(self.written, role="tools"))
        return self.template.render(messages, tools, generate)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of rendered texts. Pieces on both sides of a SEAM are encoded apart, so no control token can form across it."""
        if not self.escape:
            return self.tokenizer.encode_batch(texts)
        pieces = [text.split(SEAM) for text in texts]
        ids = iter(self.tokenizer.encode_batch([self.anchor * (k > 0) + p for parts in pieces for k, p in enumerate(parts)]))
        skip = len(self.tokenizer.encode(self.anchor))
        return [[i for k in range(len(parts)) for i in next(ids)[skip * (k > 0) :]] for parts in pieces]

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """What a server sends to the model: the tokens of the conversation and the generation prompt.

        Raises Refused("control_token") where text contains a control token's string and the contract does not escape,
        Refused("template_error") where the template refuses the conversation, and Refused("unencodable") for half a character.
        """
        check_controls(self, messages, tools)
        text = self.render(messages, tools, generate=True)
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise Refused("unencodable", "the conversation holds half a character (a lone surrogate), which no tokenizer can spell")
        ids = self.encode([text])[0]
        check_forged(self, text, ids, "the prompt")
        return ids


def check_controls(contract: Contract, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> None:
    """Raise Refused("control_token") for text that would become a control token (under `escape`: that cannot be kept from it)."""
    for i, message in enumerate(messages):
        if found := _not_allowed(contract, texts_of(message), message.role):
            raise Refused("control_token", f"message {i + 1} ({message.role}) contains {found}")
    if found := _not_allowed(contract, texts_in(tools), "tools"):
        raise Refused("control_token", f"the tool definitions contain {found}")


def _not_allowed(contract: Contract, texts: Sequence[str], role: str) -> str | None:
    for text in texts:
        if not contract.escape:
            if match := contract.forbidden(role).search(text):
                return f"the control token {match[0]}"
        elif SEAM in text:
            return f"the private character U+{ord(SEAM):04X}, which would vanish here"
        elif found := [c for c in contract.controls if len(c) == 1 and c in text]:  # one character cannot be parted
            return f"the control token {found[0]}"
    return None


def check_forged(contract: Contract, text: str, ids: Sequence[int], where: str) -> None:
    """Raise Refused("control_token") where `ids` hold more control tokens than `text` writes: a tokenizer that normalises before it matches
    makes them of strings that only look alike (full-width letters under NFKC)."""
    if contract.tokenizer.matches_normalized:
        written = sum(len(pattern_of(contract.controls).findall(piece)) for piece in text.split(SEAM))
        if sum(i in contract.control_ids for i in ids) > written:
            raise Refused("control_token", f"{where}: text that only looks like a control token becomes one in this tokenizer")


def make_contract(
    tokenizer: ChatTokenizer,
    choice: str,
    *,
    where: str,
    options: Mapping[str, Any] | None = None,
    with_tools: bool = False,
    escape: bool = False,
    allow: Sequence[str] = (),
) -> Contract:
    """Settle the contract for `choice` (own | a built-in's name | a .jinja file) on the tokenizer of `where`.

    Raises UserError: no template, unknown name, syntax error, unknown option, a template that never stops, two BOS.
    """
    source, joint, tokenizer, notes = _source(tokenizer, choice, with_tools, where)
    place = where if choice == "own" else f"template {choice}"
    check_syntax(source, place)
    template = ChatTemplate(source, tokenizer.special, _checked_options(source, options or {}, place))
    template = settle_parts(template, place)
    template, bos_notes = settle_bos(template, tokenizer, place, allow, ours=choice in BUILTIN)
    controls = controls_of(template, tokenizer)
    stop_ids = stop_ids_of(template, tokenizer, controls)
    if not stop_ids and "no_stop" not in allow:
        raise UserError(
            f"{place}: the chat template writes nothing after an answer that could stop generation (no EOS, no end-of-turn token), and a "
            "model tuned on it never stops: add {{ eos_token }} after the assistant's content, or choose `template: chatml`"
        )
    all_notes = (*notes, *bos_notes, *remarks_on(template))
    contract = Contract(tokenizer, template, choice, stop_ids, controls, shown_by(template), escape, joint, all_notes)
    return _settle_anchor(contract, where) if escape else contract


def with_options(contract: Contract, options: Mapping[str, Any]) -> Contract:
    """The same contract under other template options, probed anew for what they may change."""
    template = replace(contract.template, options={**contract.template.options, **options})
    stop_ids = stop_ids_of(template, contract.tokenizer, contract.controls)
    return replace(contract, template=template, stop_ids=stop_ids, shows=shown_by(template))


def _source(tokenizer: ChatTokenizer, choice: str, with_tools: bool, where: str) -> tuple[str, str, ChatTokenizer, list[str]]:
    if choice == "own":
        return choose_template(tokenizer, with_tools, where), "\n\n", tokenizer, []
    if choice in BUILTIN:
        builtin = BUILTIN[choice]
        grown = tokenizer.with_tokens(builtin.tokens)
        new = grown.added[len(tokenizer.added) :]
        notes = [f"template {choice} adds {', '.join(new)} to the tokenizer; the base model has never seen them"] if new else []
        if "eos_token" in builtin.source and "eos_token" not in tokenizer.special:
            raise UserError(f"template {choice} ends answers with the EOS token, and the tokenizer of {where} has none: choose chatml")
        return builtin.source, builtin.input_joint, grown, notes
    path = Path(choice)
    if path.suffix not in (".jinja", ".jinja2", ".j2") and not path.exists():
        raise UserError(f"template '{choice}' is neither built in nor a .jinja file; {nearest(choice, ['own', *BUILTIN])}")
    try:
        return path.read_text(encoding="utf-8"), "\n\n", tokenizer, []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"template file {path} cannot be read ({error}): check the path") from None


def _checked_options(source: str, options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The recipe's options, every one of which the template must read: a misspelt switch would change nothing, in silence."""
    known = ChatTemplate(source).variables() - set(GIVEN)
    for name in options:
        if name in GIVEN:
            raise UserError(f"template_options: '{name}' is given to every template and cannot be an option: remove it")
        if name not in known:
            raise UserError(f"template_options: {where} does not read '{name}'; {nearest(name, known)}")
    return dict(options)


def _settle_anchor(contract: Contract, where: str) -> Contract:
    """The contract with the anchor under which every control token's string can be spelled as plain text."""
    single = [c for c in contract.controls if len(c) == 1]  # and what holds one is refused row by row
    names = [c for c in contract.controls if not any(s in c for s in single)]
    texts = [f"x {contract.written(c, 'user')} y" for c in names]
    for anchor in ("", "\n", *contract.stops[:1]):
        candidate = replace(contract, anchor=anchor)
        ids = candidate.encode(texts)
        if all(contract.tokenizer.decode(i) == f"x {c} y" and contract.control_ids.isdisjoint(i) for c, i in zip(names, ids, strict=True)):
            return candidate
    raise UserError(f"the tokenizer of {where} cannot spell control tokens as plain text: use `control_tokens: refuse`")
