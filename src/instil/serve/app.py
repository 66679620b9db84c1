"""OpenAI's API over HTTP: chat completions, completions, models; health and metrics beside them."""

import asyncio
import contextlib
import hmac
import json
import logging
import time
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from instil.core.errors import UserError, nearest
from instil.serve import replies
from instil.serve.problems import Problem, as_json, of_validation, reply
from instil.serve.schema import Asked, ChatBody, CompletionBody
from instil.serve.tool_calls import CallFormat, call_format
from instil.serve.values import Busy, Piece, Served, Wanted
from instil.serve.wishes import chat_wanted, completions_wanted

log = logging.getLogger(__name__)
MOST_BYTES = 8 * 2**20
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
OPEN = ("/health",)
"""Paths that need no key. The chat page's own are open as well: it asks for the key and sends it with what it does."""

Body = TypeVar("Body", bound=BaseModel)


class Api:
    """The models, by name, and what a request may do."""

    def __init__(self, models: Sequence[Served], key: str | None, loopback: bool):
        self.models = {served.id: served for served in models}
        self.key, self.loopback, self.started = key, loopback, int(time.time())
        self.formats: dict[str, CallFormat | None] = {}
        self.statuses: dict[int, int] = {}

    def count(self, status: int) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def served(self, name: str) -> Served:
        if name not in self.models:
            raise Problem(404, f"model {name!r} is not served here; {nearest(name, self.models)}", "model", "model_not_found")
        return self.models[name]

    def calls(self, served: Served) -> CallFormat:
        """How this model's template writes tool calls. Raises Problem where that cannot be read back."""
        if served.id not in self.formats:
            self.formats[served.id] = call_format(served.contract) if served.contract else None
        found = self.formats[served.id]
        if found is None:
            raise Problem(400, f"the template of {served.id} writes no tool calls that could be read back: leave tools out", "tools")
        return found

    def admit(self, request: Request) -> None:
        """Raises Problem: another site's page speaks through a browser, or the key is missing."""
        host = request.headers.get("host", "").rsplit(":", 1)[0] if "]" not in request.headers.get("host", "") else "[::1]"
        if self.loopback and host not in LOOPBACK:
            raise Problem(403, "this server answers to localhost only", None, "foreign_host")
        if not self.key:
            check_origin(request)
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if self.key and not (scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.key.encode())):
            raise Problem(401, "a key is needed: send it as Authorization: Bearer KEY", None, "invalid_api_key")


def check_origin(request: Request) -> None:
    """Raises Problem where the page of another site asks. Its browser says so, and sends a form's POST without asking the server first: the
    page could not read the answer, and would still have it computed. Programs name no origin."""
    host = request.headers.get("host", "")
    try:
        origin = urllib.parse.urlsplit(request.headers["origin"]).netloc if "origin" in request.headers else host
    except ValueError:
        origin = ""
    if origin != host or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Problem(403, "the page of another site may not ask this", None, "foreign_origin")


def make_app(
    models: Sequence[Served],
    *,
    key: str | None = None,
    loopback: bool = True,
    extra_routes: Sequence[BaseRoute] = (),
    closing: Callable[[], None] | None = None,
) -> Starlette:
    """The application. `key`: what clients must send as a bearer token; `loopback`: requests for other hosts are refused; `closing` is
    called when the server goes down."""
    api = Api(models, key, loopback)
    routes = [
        Route("/v1/chat/completions", _guarded(api, _chat), methods=["POST"]),
        Route("/v1/completions", _guarded(api, _completions), methods=["POST"]),
        Route("/v1/models", _guarded(api, _models), methods=["GET"]),
        Route("/v1/models/{model:path}", _guarded(api, _model), methods=["GET"]),
        Route("/health", _health, methods=["GET"]),
        Route("/metrics", _guarded(api, _metrics), methods=["GET"]),
        *extra_routes,
    ]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        if closing is not None:
            await asyncio.to_thread(closing)

    handlers: dict[Any, Any] = {Problem: _told, HTTPException: _http, ClientDisconnect: _left, Exception: _crashed}
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)
    app.state.api = api
    return app


def _guarded(api: Api, work: Callable[[Api, Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        api.admit(request)
        response = await work(api, request)
        api.count(response.status_code)
        return response

    return endpoint


async def _told(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    request.app.state.api.count(problem.status)
    return problem.response()


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = {404: f"there is no {request.url.path} here", 405: f"{request.method} is not a method of {request.url.path}"}
    return Problem(error.status_code, what.get(error.status_code, error.detail)).response()


async def _left(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


async def _crashed(_: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    return Problem(500, "the server made a mistake; its log says more", None, "internal_error").response()


async def body_of(request: Request, kind: type[Body]) -> Body:
    """The request's body. Raises Problem: too long (413), not JSON, not what `kind` takes (400)."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MOST_BYTES:
            raise Problem(413, f"the body is longer than {MOST_BYTES // 2**20} MiB", None, "body_too_long")
    try:
        record = json.loads(bytes(data))
    except (ValueError, RecursionError):
        raise Problem(400, "the body is not JSON", None, "invalid_json") from None
    if not isinstance(record, dict):
        raise Problem(400, "the body is not a JSON object", None, "invalid_json")
    try:
        return kind.model_validate(record)
    except ValidationError as error:
        raise of_validation(error) from None
    except RecursionError:
        raise Problem(400, "the body is nested too deeply", None, "invalid_value") from None


async def _chat(api: Api, request: Request) -> Response:
    body = await body_of(request, ChatBody)
    served = api.served(body.model)
    offered = bool(body.tools) and body.tool_choice != "none"
    calls = api.calls(served) if offered else None
    wanted = chat_wanted(body, served)
    choices = [replies.Choice(index, one, calls, _names(body)) for index, one in enumerate(wanted)]
    return await _answer(request, body, replies.Head.of(served, chat=True), choices)


def _names(body: ChatBody) -> frozenset[str]:
    """What may be called."""
    functions = [tool.get("function", tool) for tool in body.tools or ()]
    return frozenset(str(function.get("name")) for function in functions if isinstance(function, dict))


async def _completions(api: Api, request: Request) -> Response:
    body = await body_of(request, CompletionBody)
    served = api.served(body.model)
    choices = [replies.Choice(index, one) for index, one in enumerate(completions_wanted(body, served))]
    return await _answer(request, body, replies.Head.of(served, chat=False), choices)


async def _answer(request: Request, body: Asked, head: replies.Head, choices: Sequence[replies.Choice]) -> Response:
    arriving = _Arriving(head.served, [choice.wanted for choice in choices])
    try:
        first = await _unless_gone(request, arriving.next())  # whether there is room shows here, before a status has been sent
        if body.stream:
            with_usage = bool(body.stream_options and body.stream_options.include_usage)
            events = _events(head, choices, arriving, first, with_usage)
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return StreamingResponse(events, media_type="text/event-stream", headers=headers)
        await _unless_gone(request, _collect(choices, arriving, first))
    except Busy:
        await arriving.close()
        raise Problem(429, "the queue is full: ask again in a moment", None, "queue_full") from None
    except BaseException:
        await arriving.close()
        raise
    return reply(replies.whole(head, choices))


Arrived = tuple[int, Piece]


class _Arriving:
    """The pieces of several answers as they come; None: all are finished."""

    def __init__(self, served: Served, wanted: Sequence[Wanted]):
        self._queue: asyncio.Queue[Arrived | Exception] = asyncio.Queue()
        self._open = len(wanted)
        self._tasks = [asyncio.create_task(self._pump(index, served, one)) for index, one in enumerate(wanted)]

    async def _pump(self, index: int, served: Served, wanted: Wanted) -> None:
        pieces = served.engine.submit(wanted)
        try:
            async for piece in pieces:
                self._queue.put_nowait((index, piece))
        except Exception as error:
            self._queue.put_nowait(error)
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]

    async def next(self) -> Arrived | None:
        if not self._open:
            return None
        found = await self._queue.get()
        if isinstance(found, Exception):
            raise found
        self._open -= found[1].finish is not None
        return found

    async def close(self) -> None:
        """Whatever still runs is no longer wanted."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _collect(choices: Sequence[replies.Choice], arriving: _Arriving, first: Arrived | None) -> None:
    found = first
    while found is not None:
        choices[found[0]].take(found[1])
        found = await arriving.next()


async def _events(
    head: replies.Head, choices: Sequence[replies.Choice], arriving: _Arriving, first: Arrived | None, with_usage: bool
) -> AsyncIterator[bytes]:
    """Server-sent events, `[DONE]` last. A failure behind the first token is an event of its own: the status has been sent."""
    try:
        for choice in choices:
            for record in replies.opening(head, choice):
                yield _event(record)
        found = first
        while found is not None:
            choice = choices[found[0]]
            choice.take(found[1])
            for record in replies.chunks(head, choice, found[1]):
                yield _event(record)
            found = await arriving.next()
        if with_usage:
            yield _event(head.record([], chunk=True, usage=replies.usage(choices)))
        yield b"data: [DONE]\n\n"
    except Busy:
        yield _event(Problem(429, "the queue is full: ask again in a moment", None, "queue_full").record())
    except UserError as error:
        yield _event(Problem(400, str(error)).record())
    except Exception:
        log.exception("a stream failed")
        yield _event(Problem(500, "the server made a mistake; its log says more", None, "internal_error").record())
    finally:
        await arriving.close()


def _event(record: dict[str, Any]) -> bytes:
    return b"data: " + as_json(record) + b"\n\n"


Result = TypeVar("Result")


async def _unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """The result of `work`; it is cancelled when the client goes away. Raises ClientDisconnect then."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for one in (task, watch):
            one.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _models(api: Api, _: Request) -> Response:
    return reply({"object": "list", "data": [_about(api, served) for served in api.models.values()]})


async def _model(api: Api, request: Request) -> Response:
    return reply(_about(api, api.served(request.path_params["model"])))


def _about(api: Api, served: Served) -> dict[str, Any]:
    return {"id": served.id, "object": "model", "created": api.started, "owned_by": "instil", "max_model_len": served.context}


async def _health(_: Request) -> Response:
    return reply({"status": "ok"})


GAUGES = {"running", "waiting", "cache_bytes"}


async def _metrics(api: Api, _: Request) -> Response:
    """Prometheus' text format."""
    found = {served.id: served.engine.gauges() for served in api.models.values()}
    lines = []
    for name in dict.fromkeys(name for gauges in found.values() for name in gauges):
        full = f"instil_{name}" if name in GAUGES else f"instil_{name}_total"
        lines.append(f"# TYPE {full} {'gauge' if name in GAUGES else 'counter'}")
        lines += [f"{full}{{model={json.dumps(id)}}} {gauges[name]:g}" for id, gauges in found.items() if name in gauges]
    lines.append("# TYPE instil_responses_total counter")
    lines += [f'instil_responses_total{{status="{status}"}} {count}' for status, count in sorted(api.statuses.items())]
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")
