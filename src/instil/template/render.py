"""A Jinja chat template, rendered exactly as transformers' `apply_chat_template` renders it, without importing transformers.

Same sandbox, same filters and globals, same special tokens, same reasoning aliases; `tests/template/test_render.py` compares the two over
every template that this project can lay hands on.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.nodes
import jinja2.utils
from jinja2.sandbox import ImmutableSandboxedEnvironment

from instil.core.errors import Refused, UserError
from instil.core.values import Message


class _Generation(jinja2.ext.Extension):
    """Accepts `{% generation %}` blocks and renders what is inside: instil needs no such marks."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def _raise_exception(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def _tojson(x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


class _Namespace(jinja2.utils.Namespace):
    """Templates come from strangers: no underscore attributes, through which they could reach Python's internals."""

    def __init__(*args: Any, **values: Any) -> None:  # no `self`: templates may name an attribute so
        self, *rest = args
        values = dict(*rest, **values)
        for name in values:
            _Namespace._check(name)
        jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _Namespace._check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def _check(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"chat templates cannot store underscore-prefixed attributes, here {name!r}")


class _Dict:
    """`dict` for templates: the class itself would hand out its methods and bases."""

    def __call__(self, *args: Any, **values: Any) -> dict[Any, Any]:
        return dict(*args, **values)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now, "dict": _Dict(), "namespace": _Namespace}
    return environment


@functools.lru_cache(maxsize=64)
def _compile(source: str) -> jinja2.Template:
    return _environment().from_string(source)


@functools.lru_cache(maxsize=64)
def _parse(source: str) -> jinja2.nodes.Template:
    return _environment().parse(source)


@functools.lru_cache(maxsize=64)
def _variables(source: str) -> frozenset[str]:
    return frozenset(jinja2.meta.find_undeclared_variables(_parse(source)))


@functools.lru_cache(maxsize=64)
def _literal_text(source: str) -> str:
    tree = _parse(source)
    pieces = [node.data for node in tree.find_all(jinja2.nodes.TemplateData)]
    pieces += [node.value for node in tree.find_all(jinja2.nodes.Const) if isinstance(node.value, str)]
    return "\0".join(pieces)


def check_syntax(source: str, where: str) -> None:
    """Raise UserError with the line where `source`, found in `where`, is not a Jinja template."""
    try:
        _compile(source)
    except jinja2.TemplateSyntaxError as error:
        raise UserError(f"{where}, line {error.lineno}: the chat template has a syntax error ({error.message}): mend it there") from None


@dataclass(frozen=True)
class ChatTemplate:
    """A template with everything that it is rendered with.

    `parts`: the template reads message contents as typed parts (`[{"type": "text", "text": ...}]`) instead of strings.
    """

    source: str
    special: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    parts: bool = False

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), generate: bool = False) -> str:
        """The text of `messages`; with `generate`, followed by the generation prompt, as a server sends it.

        Raises Refused("template_error") with the template's own words where it refuses the conversation.
        """
        chat = [as_dict(message, self.parts) for message in messages]
        values = {**self.special, **self.options}
        try:
            return _compile(self.source).render(
                messages=chat, tools=[dict(t) for t in tools] or None, documents=None, add_generation_prompt=generate, **values
            )
        except Exception as error:  # a template is a program of somebody else's: whatever it raises is its refusal
            raise Refused("template_error", f"the template says: {error or type(error).__name__}") from None

    def variables(self) -> frozenset[str]:
        """Names that the template reads from outside, e.g. `tools`, `enable_thinking`."""
        return _variables(self.source)

    def literal_text(self) -> str:
        """Everything that the template writes by itself, pieces parted by NUL: where control tokens of the format show up."""
        return _literal_text(self.source)


def as_dict(message: Message, parts: bool = False) -> dict[str, Any]:
    """The message as chat templates know it (OpenAI's shape; reasoning under the names in use, as transformers does it)."""
    content: Any = [{"type": "text", "text": message.content}] if parts else message.content
    found: dict[str, Any] = {"role": message.role, "content": content}
    if message.reasoning is not None:
        found |= {"reasoning_content": message.reasoning, "thinking": message.reasoning}
    if message.tool_calls:
        found["tool_calls"] = [_call_as_dict(c.name, c.arguments, c.id) for c in message.tool_calls]
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        found["name"] = message.name
    return found


def _call_as_dict(name: str, arguments: Any, id: str | None) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return call if id is None else call | {"id": id}


def map_text(message: Message, change: Callable[[str], str]) -> Message:
    """The message with `change` applied to every text in it that its author wrote."""
    calls = tuple(
        replace(c, name=change(c.name), arguments=map_value(c.arguments, change), id=_map(c.id, change)) for c in message.tool_calls
    )
    return replace(
        message,
        content=change(message.content),
        reasoning=_map(message.reasoning, change),
        tool_calls=calls,
        tool_call_id=_map(message.tool_call_id, change),
        name=_map(message.name, change),
    )


def _map(text: str | None, change: Callable[[str], str]) -> str | None:
    return None if text is None else change(text)


def map_value(value: Any, change: Callable[[str], str]) -> Any:
    """`change` applied to every string inside a JSON-like value, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(str(k)): map_value(v, change) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [map_value(v, change) for v in value]
    return value


def texts_of(message: Message) -> list[str]:
    """Every text in it that its author wrote."""
    texts: list[str] = []
    map_text(message, lambda text: (texts.append(text), text)[1])  # type: ignore[func-returns-value]
    return texts


def texts_in(value: Any) -> list[str]:
    """Every string inside a JSON-like value, keys included."""
    texts: list[str] = []
    map_value(value, lambda text: (texts.append(text), text)[1])  # type: ignore[func-returns-value]
    return texts
