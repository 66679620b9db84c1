"""The chat page over HTTP: the page and its parts, and what it asks beyond the OpenAI API (exact tokens, probabilities, votes).

Everything the page is made of comes from this package; a content security policy lets it load and talk to nothing else. What changes or
tells something is answered only to the page itself: same origin, JSON, and, on the loopback address, under a name that means this machine.
"""

import hmac
import json
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from instil.core.errors import Refused, UserError
from instil.core.page import part, style
from instil.serve.blind import Pair, Waiting, drawn, in_step, revealed, rows_of
from instil.serve.page_asked import AskedBlind, AskedProbabilities, AskedThumb, AskedTokens, AskedVote
from instil.serve.page_tokens import answer_of, prompt_of, scored, shown_tokens
from instil.serve.values import Busy, Served, Wanted
from instil.serve.votes import Said, judged_row, save_vote

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
"""What a browser may call this machine. Another name means that a stranger's page has had its name resolved to this address."""
MOST_BYTES = 8 << 20  # of a request
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SCRIPTS = ("page.js", "page_show.js", "page_store.js", "page_wire.js")
Found = Mapping[str, Any] | Response


class Declined(Exception):
    """A request that is not answered: the status and why, in words."""

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class _Desk:
    """What all answers are made from."""

    models: Mapping[str, Served]
    votes_file: Path
    key: str | None
    loopback: bool
    waiting: Waiting = field(default_factory=Waiting)

    def model(self, name: str) -> Served:
        if name not in self.models:
            raise Declined(404, f"there is no model '{name}' here: reload the page to see which there are")
        return self.models[name]


def page_routes(models: Sequence[Served], votes_file: Path, *, key: str | None = None, loopback: bool = True) -> list[Route]:
    """The routes of the page. `votes_file`: where votes are kept. `key`: what the page's questions must bring as a bearer token; the page
    itself is shown without. `loopback`: only names of this machine are answered, as it should be where only this machine can reach it."""
    desk = _Desk({served.id: served for served in models}, votes_file, key, loopback)
    parts = [Route(path, _part(desk, text, kind)) for path, (text, kind) in _parts().items()]
    asked = [Route(f"/page/{name}", _guarded(desk, verb), methods=["POST"]) for name, verb in POST.items()]
    return [*parts, Route("/page/models", _guarded(desk, _models)), *asked]


def _parts() -> dict[str, tuple[str, str]]:
    here = "instil.serve"
    return {
        "/": (part(here, "page.html"), "text/html"),
        "/page/page.css": (style(here, "page.css"), "text/css"),
        **{f"/page/{name}": (part(here, name), "text/javascript") for name in SCRIPTS},
        "/page/icon.svg": (part(here, "page_icon.svg"), "image/svg+xml"),
    }


def _part(desk: _Desk, text: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            _check_name(desk, request)
        except Declined as declined:
            return _refusal(declined.status, str(declined))
        return Response(text, media_type=kind, headers=HEADERS)

    return answer


def _guarded(desk: _Desk, verb: Callable[[_Desk, bytes], Awaitable[Found]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            _check_name(desk, request)
            _check_key(desk, request)
            found = await verb(desk, await _body(request) if request.method == "POST" else b"")
        except Declined as declined:
            return _refusal(declined.status, str(declined))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            return _refusal(400, f"{'.'.join(map(str, first['loc'])) or 'the request'}: {first['msg']}")
        except Refused as refused:
            return _refusal(400, refused.detail)
        except UserError as error:
            return _refusal(500, str(error))
        except Busy:
            return _refusal(503, BUSY)
        return found if isinstance(found, Response) else JSONResponse(found, headers=HEADERS)

    return answer


BUSY = "the server has as many questions as it takes: ask again in a moment"


def _refusal(status: int, why: str) -> Response:
    return JSONResponse({"error": {"message": why}}, status, headers=HEADERS)


def _check_name(desk: _Desk, request: Request) -> None:
    """Raise where the request, though it arrived here, was meant for another name, or comes from another page."""
    host = request.headers.get("host", "")
    try:
        name = urllib.parse.urlsplit("//" + host).hostname
        origin = urllib.parse.urlsplit(request.headers["origin"]).netloc if "origin" in request.headers else host
    except ValueError:
        raise Declined(403, "the request names no host that could be read") from None
    if desk.loopback and name not in LOOPBACK_NAMES:
        raise Declined(403, "this server answers under the names of its own machine only: open http://127.0.0.1 and its port")
    site = request.headers.get("sec-fetch-site", "same-origin")
    navigates = request.method == "GET" and request.url.path == "/"  # a link from elsewhere may open the page, and do no more
    if not navigates and (origin != host or site not in ("same-origin", "none")):
        raise Declined(403, "only the page of this server may ask this")


def _check_key(desk: _Desk, request: Request) -> None:
    given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if desk.key is not None and not hmac.compare_digest(given.encode(), desk.key.encode()):
        raise Declined(401, "this server wants an API key" if not given else "this is not the API key of this server")


async def _body(request: Request) -> bytes:
    """A form of another page can send no JSON without its browser asking first. Raises Declined."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Declined(415, "the request is not application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise Declined(413, f"the request is longer than {MOST_BYTES >> 20} MiB: begin a new conversation")
    return body


async def _models(desk: _Desk, _: bytes) -> Found:
    return {
        "models": [{"id": served.id, "chats": served.contract is not None, "context": served.context} for served in desk.models.values()],
        "votes_file": str(desk.votes_file),
    }


async def _tokens(desk: _Desk, body: bytes) -> Found:
    asked = AskedTokens.model_validate_json(body)
    served = desk.model(asked.model)
    return {"tokens": shown_tokens(served, prompt_of(served, asked.conversation)), "context": served.context}


async def _probabilities(desk: _Desk, body: bytes) -> Found:
    asked = AskedProbabilities.model_validate_json(body)
    served = desk.model(asked.model)
    prompt = prompt_of(served, asked.conversation)
    return {"tokens": await scored(served, prompt, answer_of(served, asked.answer, asked.ended), asked.alternatives)}


async def _blind(desk: _Desk, body: bytes) -> Found:
    """Lines of JSON: {side, text} as both answers grow, then {pair} with the id to vote under, or {error}."""
    asked = AskedBlind.model_validate_json(body)
    sides = drawn((desk.model(asked.models[0]), desk.model(asked.models[1])))
    wanted = []
    for served in sides:
        prompt = prompt_of(served, asked.conversation)
        sampled = asked.sampled
        wanted.append(Wanted(tuple(prompt), sampled.max_tokens, sampled.temperature, sampled.top_p, sampled.seed))
    return StreamingResponse(_blind_lines(desk, asked, sides, wanted), media_type="application/x-ndjson", headers=HEADERS)


async def _blind_lines(desk: _Desk, asked: AskedBlind, sides: Sequence[Served], wanted: Sequence[Wanted]) -> AsyncIterator[str]:
    texts, ends = ["", ""], ["stop", "stop"]
    try:
        first, second = (served.engine.submit(request) for served, request in zip(sides, wanted, strict=True))
        async for side, piece in in_step(first, second):
            texts[side] += piece.text
            ends[side] = piece.finish or ends[side]
            if piece.text:
                yield _line({"side": side, "text": piece.text})
    except Busy:
        yield _line({"error": BUSY})
        return
    answers = Said(sides[0].id, texts[0]), Said(sides[1].id, texts[1])
    pair = desk.waiting.add(Pair(asked.conversation, answers, asked.sampled))
    yield _line({"pair": pair, "finish": ends})


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value) + "\n"


async def _vote(desk: _Desk, body: bytes) -> Found:
    """Save the vote, and only then say who is who."""
    asked = AskedVote.model_validate_json(body)
    pair = desk.waiting.get(asked.pair)
    if pair is None:
        raise Declined(409, "this pair is not waiting for a vote (it has one, or the server was started anew): ask again")
    if rows := rows_of(pair, asked.choice):
        save_vote(desk.votes_file, asked.pair, rows)
    desk.waiting.remove(asked.pair)
    return {"models": revealed(pair), "saved": len(rows)}


async def _thumb(desk: _Desk, body: bytes) -> Found:
    """Save what somebody thinks of one answer, in the place of what they thought of it before."""
    asked = AskedThumb.model_validate_json(body)
    said = Said(desk.model(asked.model).id, asked.answer)
    rows = [] if asked.good is None else [judged_row(asked.conversation, said, asked.good, asked.sampled, "thumb")]
    save_vote(desk.votes_file, asked.vote, rows)
    return {"saved": len(rows)}


POST: dict[str, Callable[[_Desk, bytes], Awaitable[Found]]] = {
    "tokens": _tokens,
    "probabilities": _probabilities,
    "blind": _blind,
    "vote": _vote,
    "thumb": _thumb,
}
