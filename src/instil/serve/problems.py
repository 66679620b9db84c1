"""What a client is told when something is wrong, in OpenAI's shape."""

import json
from typing import Any

from pydantic import ValidationError
from starlette.responses import Response

TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 500: "server_error", 503: "server_error"}


class Problem(Exception):
    """An answer other than 200. `param`: the field that is to blame; `code`: stable, for programs."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None):
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def record(self) -> dict[str, Any]:
        kind = TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        # 429: an answer takes seconds. 401: what a client must send.
        headers = {429: {"Retry-After": "2"}, 401: {"WWW-Authenticate": "Bearer"}}.get(self.status)
        return reply(self.record(), self.status, headers)


def reply(record: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`record` as JSON. Half a character that a client sent, and is quoted to it, becomes a question mark."""
    return Response(as_json(record), status, headers, "application/json")


def as_json(record: Any) -> bytes:
    return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def of_validation(error: ValidationError) -> Problem:
    """The first thing that a body does wrong, by the name of its field."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    # A union's members stand in the place as well ("prompt.list[int].0"); the field's own names say enough.
    param = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or str(part).isidentifier()) or None
    if first["type"] == "extra_forbidden":
        return Problem(400, f"unknown field {param!r}: this server would not do what it asks for", param, "unknown_field")
    if first["type"] == "value_error":
        return Problem(400, first["msg"].removeprefix("Value error, "), param, "unsupported_value")
    where = f"{param}: " if param else ""
    return Problem(400, f"{where}{first['msg']}", param, "missing_field" if first["type"] == "missing" else "invalid_value")
