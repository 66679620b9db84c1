"""The chat template in Go's syntax, as Ollama renders prompts: made by probing the Jinja, proved on dialogues, or refused.

Most chat templates are a chain: what stands between two messages depends on the two roles only. So conversations whose contents are markers
are rendered, and what stands between the markers is read off: the *joints*. From them comes a Go template that loops over `.Messages`,
and it is proved: over many dialogues the joints must give the Jinja's text to the letter. What is not a chain (a template that counts
turns, say) fails that proof and is refused.

Not expressed: tools and reasoning, for which Ollama has its own data.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from instil.core.errors import Refused, UserError
from instil.core.values import Message
from instil.template.contract import Contract

START, GENERATE = "", "generate"
ROLES = ("system", "user", "assistant")

# Which conversations are asked: enough for every pair of roles to stand beside each other in every place.
SHAPES = ("u", "uau", "uauau", "su", "suau", "suauau", "au", "sau")
NEEDED = ("u", "uau", "uauau")
FEWEST = 20
"""Dialogues that the Jinja must render for a proof to be one."""
NAMES = {"s": "system", "u": "user", "a": "assistant"}

TIDY = (
    "What is 2+2?",
    "4",
    'Say "hi" {{ .Content }} \\ `x` {% if %}',
    "Zwölf Boxkämpfer, 東京, 🙂",
    "first line\nsecond\n\nfourth",
    "a\tb",
    "<b>&amp;</b>",
)
UNTIDY = ("  two spaces before", "a line break behind\n", "\n\tboth \n")
INPUTS = ("Name it.\n\n### Input:\nthe sky",)

Joints = Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class GoTemplate:
    """`joints`: what is written between a message of one role and one of another; START and GENERATE are the ends. `source`: Go's syntax.
    `proved`: dialogues over which it gave the Jinja's text. `notes`: where it does not, in sentences."""

    joints: Joints
    source: str
    proved: int
    notes: tuple[str, ...]

    def render(self, messages: Sequence[Message]) -> str:
        """What Ollama sends for `messages`: turns of one role in a row become one, as it does before it renders. A last message of the
        assistant is gone on with."""
        return render_joints(self.joints, messages)


def make_go_template(contract: Contract) -> GoTemplate:
    """Raises UserError where the contract's template cannot be put into Go's syntax."""
    joints = _without_bos(_joints_of(contract), contract)
    tidy, untidy, inputs = (list(_dialogues(texts, contract)) for texts in (TIDY, UNTIDY, INPUTS))
    tidy = [dialogue for dialogue in tidy if _expected(contract, dialogue) is not None]
    if len(tidy) < FEWEST:
        raise _refusal(contract, f"it refuses all but {len(tidy)} of the dialogues that would prove it")
    if wrong := _differing(joints, tidy, contract):
        raise _refusal(contract, f"it differs in {len(wrong)} of {len(tidy)} dialogues, first where a user says {wrong[0][-1].content!r}")
    notes = tuple(f"the chat template {why}" for why in _notes(joints, untidy, inputs, contract))
    return GoTemplate(joints, _source(joints), len(tidy), notes)


def adds_bos(contract: Contract) -> bool:
    """Whether servers of GGUF files put the BOS in front themselves, so that a prompt must not have it: what `add_bos_token` says there."""
    bos = contract.tokenizer.special.get("bos_token", "\0")
    return contract.tokenizer.wants_bos and contract.render([Message(role="user", content="a")], generate=True).startswith(bos)


def served_text(contract: Contract, messages: Sequence[Message]) -> str:
    """What the Jinja makes of a conversation, as the prompt of a server that adds the BOS itself where the contract has one."""
    text = contract.render(messages, generate=True)
    return text.removeprefix(contract.tokenizer.special["bos_token"]) if adds_bos(contract) else text


def merged(messages: Iterable[Message]) -> list[Message]:
    """Messages of one role in a row as one, parted by an empty line: Ollama's `collate`."""
    groups = itertools.groupby(messages, key=lambda message: message.role)
    return [Message(role=role, content="\n\n".join(m.content for m in group)) for role, group in groups]


def render_joints(joints: Joints, messages: Sequence[Message]) -> str:
    """The prompt for `messages`, as `GoTemplate.source` writes it."""
    before = START
    pieces: list[str] = []
    for message in merged(messages):
        pieces += [_joint(joints, before, message.role), message.content]
        before = message.role
    if before == "user":
        pieces.append(joints["user", GENERATE])
    return "".join(pieces)


def _joint(joints: Joints, before: str, role: str) -> str:
    """The joint; where the template refuses such a pair, that of the conversation's beginning, as the Go template falls back to it."""
    return joints.get((before, role), joints.get((START, role), ""))


def _joints_of(contract: Contract) -> dict[tuple[str, str], str]:
    joints: dict[tuple[str, str], str] = {}
    for shape in SHAPES:
        roles = [NAMES[letter] for letter in shape]
        try:
            found = _probe(contract, roles)
        except Refused as refused:
            if shape in NEEDED:
                raise _refusal(contract, f"it does not render the turns {', '.join(roles)} ({refused.detail})") from None
            continue
        for pair, text in found.items():
            if joints.setdefault(pair, text) != text:
                before, after = (part or "the beginning" for part in pair)
                raise _refusal(contract, f"between {before} and {after} it writes now {joints[pair]!r}, now {text!r}")
    return joints


def _probe(contract: Contract, roles: Sequence[str]) -> dict[tuple[str, str], str]:
    """Joints of one conversation. Raises Refused where the template refuses it, or does not show every message once and in order."""
    marks = [f"qz{k}{role}{k}zq" for k, role in enumerate(roles)]
    text = contract.template.render([Message(role=r, content=m) for r, m in zip(roles, marks, strict=True)], (), True)
    pieces: list[str] = []
    for k, mark in enumerate(marks):
        if text.count(mark) != 1:
            raise Refused("template_error", f"behind those before it, message {k + 1} is shown {text.count(mark)} times")
        piece, _, text = text.partition(mark)
        pieces.append(piece)
    pairs = zip([START, *roles], [*roles, GENERATE], strict=True)
    found: dict[tuple[str, str], str] = {}
    for pair, piece in zip(pairs, [*pieces, text], strict=True):
        if found.setdefault(pair, piece) != piece:
            raise _refusal(contract, f"between {pair[0]} and {pair[1]} it writes now {found[pair]!r}, now {piece!r}")
    return found


def _without_bos(joints: Joints, contract: Contract) -> dict[tuple[str, str], str]:
    bos = contract.tokenizer.special.get("bos_token", "")
    return {pair: text.removeprefix(bos) if pair[0] == START and adds_bos(contract) else text for pair, text in joints.items()}


def _dialogues(texts: Sequence[str], contract: Contract) -> Iterable[list[Message]]:
    """Dialogues of one to four exchanges, with and without a system message, every text in every role."""
    spoken = itertools.cycle(texts)
    for system in (False, True) if "system" in contract.shows else (False,):
        for exchanges in range(4):
            for _ in texts:
                roles = ["system"] * system + ["user", "assistant"] * exchanges + ["user"]
                yield [Message(role=role, content=next(spoken)) for role in roles]


def _differing(joints: Joints, dialogues: Iterable[Sequence[Message]], contract: Contract) -> list[Sequence[Message]]:
    return [d for d in dialogues if _expected(contract, d) not in (None, render_joints(joints, d))]


def _expected(contract: Contract, dialogue: Sequence[Message]) -> str | None:
    try:
        return served_text(contract, dialogue)
    except Refused:
        return None


def _notes(joints: Joints, untidy: Sequence[Sequence[Message]], inputs: Sequence[Sequence[Message]], contract: Contract) -> Iterable[str]:
    if _differing(joints, untidy, contract):
        yield "changes white space at the ends of messages (it trims them), which Go's templates cannot: send messages without it"
    if _differing(joints, inputs, contract):
        yield "has other words for a message with `### Input:` in it, which Go's templates cannot ask for: put the input in the instruction"
    if "system" not in contract.shows or (START, "system") not in joints:
        yield "shows no system message: Ollama's would be put in front as they stand"
    if today := _dates(joints, contract):
        yield f"writes today's date, which stands still in this Go template ({today})"
    if "reasoning" in contract.shows:
        yield "shows the reasoning of earlier answers, which this Go template leaves out"
    if contract.shows & {"tools", "tool_calls", "tool"}:
        yield "knows tools, which this Go template leaves out: Ollama will say that the model takes none"


def _dates(joints: Joints, contract: Contract) -> str | None:
    """The date of today as the template writes it, if it does."""
    forms = re.findall(r"strftime_now\(\s*['\"]([^'\"]+)", contract.template.source)
    return next((today for form in forms if any((today := datetime.now().strftime(form)) in text for text in joints.values())), None)


def _refusal(contract: Contract, why: str) -> UserError:
    return UserError(
        f"the chat template ({contract.name}) cannot be put into Go's syntax for Ollama: {why}; use --to gguf with a server that reads "
        "the Jinja itself (llama.cpp, LM Studio)"
    )


def _source(joints: Joints) -> str:
    """The joints in Go's syntax. All text is quoted, so that no line break or brace of it is ever the template's."""
    lines = ['{{- $before := "" }}', "{{- range .Messages }}"]
    roles = [role for role in ROLES if any(pair[1] == role for pair in joints)]
    for k, role in enumerate(roles):
        lines.append(f'{{{{- {"else " * (k > 0)}if eq .Role "{role}" }}}}')
        lines.append(_entry(joints, role))
    lines += ["{{- end }}", "{{- .Content }}", "{{- $before = .Role }}", "{{- end }}"]
    lines += ['{{- if eq $before "user" }}', f"{{{{- {quoted(joints['user', GENERATE])} }}}}", "{{- end -}}"]
    return "\n".join(lines)


def _entry(joints: Joints, role: str) -> str:
    """What stands before a message of `role`, by what stood before it; the beginning's where nothing else fits."""
    known = {before: text for (before, after), text in joints.items() if after == role}
    default = _joint(joints, START, role)
    special: dict[str, list[str]] = {}
    for before, text in known.items():
        if before != START and text != default:
            special.setdefault(text, []).append(f'"{before}"')
    if not special:
        return f"{{{{- {quoted(default)} }}}}"
    # Go's `eq` takes several values: equal to any of them
    branches = [f"if eq $before {' '.join(names)} }}}}{{{{- {quoted(text)} }}}}" for text, names in special.items()]
    return "{{- " + "{{- else ".join(branches) + f"{{{{- else }}}}{{{{- {quoted(default)} }}}}{{{{- end }}}}"


def quoted(text: str) -> str:
    """A Go string. Quotation marks are spelled by number: three of them would end a Modelfile's text."""
    names = {"\n": "\\n", "\t": "\\t", "\\": "\\\\", '"': "\\u0022"}
    return '"' + "".join(names.get(c) or (c if c.isprintable() else f"\\U{ord(c):08x}") for c in text) + '"'
