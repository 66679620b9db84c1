"""The chat page over HTTP: the page and its parts, and what it asks beyond OpenAI's API (exact tokens, probabilities, blind pairs, votes).

Everything that the page is made of comes from this package; a content security policy lets it load, and talk to, nothing else. What it asks
is answered to the page itself alone: same origin, the server's key where there is one, and on the loopback address a name of this machine.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from instil.core.errors import Refused, UserError
from instil.core.page import part, style
from instil.serve.app import body_of, check_origin
from instil.serve.blind import Pair, Waiting, drawn, in_step, revealed, rows_of
from instil.serve.page_asked import AskedBlind, AskedProbabilities, AskedThumb, AskedTokens, AskedVote
from instil.serve.page_tokens import answer_of, prompt_of, scored, shown_tokens
from instil.serve.problems import Problem, as_json, reply
from instil.serve.values import Busy, Served, Wanted
from instil.serve.votes import Said, judged_row, save_vote

log = logging.getLogger(__name__)
SCRIPTS = ("page.js", "page_show.js", "page_store.js", "page_wire.js")
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
BUSY = "the queue is full: ask again in a moment"


@dataclass(frozen=True)
class _Desk:
    """What all answers are made from."""

    models: Mapping[str, Served]
    votes_file: Path
    waiting: Waiting = field(default_factory=Waiting)

    def served(self, name: str) -> Served:
        if name not in self.models:
            raise Problem(404, f"model {name!r} is not served here: reload the page to see which are", "model", "model_not_found")
        return self.models[name]


def page_routes(models: Sequence[Served], votes_file: Path) -> list[Route]:
    """The routes of the page, for `make_app`, whose key and host rules they keep to; the page and its parts are shown to everybody.
    `votes_file`: where votes are kept, see `serve.votes`."""
    desk = _Desk({served.id: served for served in models}, votes_file)
    parts = [Route(path, _part(text, kind)) for path, (text, kind) in _parts().items()]
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


def _part(text: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return Response(text, media_type=kind, headers=HEADERS)

    return answer


Verb = Callable[[_Desk, Request], Awaitable[Response]]


def _guarded(desk: _Desk, verb: Verb) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        request.app.state.api.admit(request)
        check_origin(request)
        _check_json(request)
        try:
            found = await verb(desk, request)
        except Refused as refused:
            raise Problem(400, refused.detail, None, refused.code) from None
        except UserError as error:  # of the votes' file: full disk, no permission
            raise Problem(500, str(error)) from None
        except Busy:
            raise Problem(429, BUSY, None, "queue_full") from None
        found.headers.update(HEADERS)
        return found

    return answer


def _check_json(request: Request) -> None:
    """Raises Problem for what a form could send. Browsers let other sites' forms send no JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if request.method == "POST" and kind != "application/json":
        raise Problem(415, "the request is not application/json", None, "not_json")


async def _models(desk: _Desk, _: Request) -> Response:
    models = [{"id": served.id, "chats": served.contract is not None, "context": served.context} for served in desk.models.values()]
    return reply({"models": models, "votes_file": str(desk.votes_file)})


async def _tokens(desk: _Desk, request: Request) -> Response:
    asked = await body_of(request, AskedTokens)
    served = desk.served(asked.model)
    return reply({"tokens": shown_tokens(served, prompt_of(served, asked.turns)), "context": served.context})


async def _probabilities(desk: _Desk, request: Request) -> Response:
    asked = await body_of(request, AskedProbabilities)
    served = desk.served(asked.model)
    answer = answer_of(served, asked.conversation, asked.answer, asked.ended)
    return reply({"tokens": await scored(served, prompt_of(served, asked.turns), answer, asked.alternatives)})


async def _blind(desk: _Desk, request: Request) -> Response:
    """Lines of JSON: {side, text} as both answers grow, then {pair, finish} with the id to vote under, or {error}."""
    asked = await body_of(request, AskedBlind)
    sides = drawn((desk.served(asked.models[0]), desk.served(asked.models[1])))
    how = asked.sampled
    wanted = [Wanted(tuple(prompt_of(s, asked.turns)), how.max_tokens, how.temperature, how.top_p, how.seed) for s in sides]
    return StreamingResponse(_blind_lines(desk, asked, sides, wanted), media_type="application/x-ndjson")


async def _blind_lines(desk: _Desk, asked: AskedBlind, sides: Sequence[Served], wanted: Sequence[Wanted]) -> AsyncIterator[bytes]:
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
    except Exception:
        log.exception("a blind pair failed")
        yield _line({"error": "the server made a mistake; its log says more"})
        return
    answers = Said(sides[0].id, texts[0]), Said(sides[1].id, texts[1])
    pair = desk.waiting.add(Pair(asked.conversation, answers, asked.sampled))
    yield _line({"pair": pair, "finish": ends})


def _line(value: Mapping[str, Any]) -> bytes:
    return as_json(value) + b"\n"


async def _vote(desk: _Desk, request: Request) -> Response:
    """Save the vote, and only then say who is who."""
    asked = await body_of(request, AskedVote)
    pair = desk.waiting.get(asked.pair)
    if pair is None:
        raise Problem(409, "this pair waits for no vote: it has one, or the server was started anew since; ask again", "pair", "no_pair")
    rows = rows_of(pair, asked.choice)
    if rows:
        await run_in_threadpool(save_vote, desk.votes_file, asked.pair, rows)
    desk.waiting.remove(asked.pair)
    return reply({"models": revealed(pair), "saved": len(rows)})


async def _thumb(desk: _Desk, request: Request) -> Response:
    """Save what somebody thinks of one answer, in the place of what they thought of it before."""
    asked = await body_of(request, AskedThumb)
    said = Said(desk.served(asked.model).id, asked.answer)
    rows = [] if asked.good is None else [judged_row(asked.conversation, said, asked.good, asked.sampled, "thumb")]
    await run_in_threadpool(save_vote, desk.votes_file, asked.vote, rows)
    return reply({"saved": len(rows)})


POST: dict[str, Verb] = {"tokens": _tokens, "probabilities": _probabilities, "blind": _blind, "vote": _vote, "thumb": _thumb}
