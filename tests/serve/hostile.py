"""Requests that a server must survive: valid bodies with fields replaced by what does not belong there, drawn from the API's own schema,
broken JSON, wrong methods and paths. A pure function of the random numbers."""

import json
from random import Random
from typing import Any

from pydantic import BaseModel

from instil.serve.schema import ChatBody, CompletionBody

STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 2**64, 10**400, 0.5, -0.0, 1e308, 1e-308),
    *("", " ", "a", "\x00", "\ud800", "🙂" * 50, "<|im_end|>", "<|begin|>", "x" * 5000, "{{ 7*7 }}", "../../etc/passwd", "\u202e", "١"),
    *([], [[]], [None], [1, "a"], [-1], [2**40], ["", ""], [0] * 300, [{}], {}, {"a": {}}, {"role": "user"}, {"type": "function"}),
    {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#"}}},
    {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "pattern": "(a+)+$"}}},
    {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": []}}},
    {"type": "json_object"},
    [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    [{"type": "function", "function": {"name": None}}],
)
ROLES = ("system", "user", "assistant", "tool", "developer", "function", "king", "", None, 7)
API = ("/v1/chat/completions", "/v1/completions")
PATHS = (*API, "/v1/models", "/v1/models/x", "/health", "/metrics", "/", "/v1", "/v1/../health", "/%00")


def request(random: Random, models: tuple[str, ...]) -> tuple[str, str, bytes]:
    """(method, path, body)."""
    if random.random() < 0.05:
        method = random.choice(("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"))
        return method, random.choice(PATHS), random.choice((b"", b"{}", bytes(random.randrange(256) for _ in range(40))))
    chat = random.random() < 0.6
    body = _body(random, random.choice(models), chat)
    data = json.dumps(body).encode("utf-8", "surrogatepass")
    if random.random() < 0.1:
        data = _broken(random, data)
    return "POST", API[0] if chat else API[1], data


def _body(random: Random, model: str, chat: bool) -> dict[str, Any]:
    kind: type[BaseModel] = ChatBody if chat else CompletionBody
    body: dict[str, Any] = {"model": model, "max_tokens": random.randrange(1, 4)}
    body |= {"messages": [_message(random) for _ in range(random.randrange(1, 4))]} if chat else {"prompt": random.choice(STRANGE)}
    if random.random() < 0.5:
        body |= {"messages": [{"role": "user", "content": "Hi"}]} if chat else {"prompt": "Hi"}
    names = [field.alias or name for name, field in kind.model_fields.items()]
    for name in random.sample(names, random.choice((0, 1, 1, 2, 4))):
        body[name] = _deep(random) if random.random() < 0.03 else random.choice(STRANGE)
    if random.random() < 0.1:
        body[random.choice(("guided_json", "", "\ud800", "best_of", "functions"))] = random.choice(STRANGE)
    if body.get("max_tokens") is None or (isinstance(body.get("max_tokens"), int) and body["max_tokens"] > 8):
        body["max_tokens"] = 8  # what is tested is the refusing, not the writing
    return body


def _message(random: Random) -> Any:
    message: dict[str, Any] = {"role": random.choice(ROLES), "content": random.choice((*STRANGE, "Hi", "Hi", "Hi"))}
    if random.random() < 0.3:
        message[random.choice(("tool_calls", "name", "tool_call_id", "weight", "reasoning_content", "extra"))] = random.choice(STRANGE)
    return random.choice((message, message, message, random.choice(STRANGE)))


def _deep(random: Random) -> Any:
    value: Any = 1
    for _ in range(random.choice((50, 900))):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


def _broken(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return random.choice((data[:at], data[:at] + bytes([random.randrange(256)]) + data[at + 1 :], data + data, b"\xff" + data))
