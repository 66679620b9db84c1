"""Continuous batching: requests join and leave a running batch between two passes of the model.

One thread owns the model. A pass reads, in one flat row, the next token of every answer that is being written and as many tokens of waiting
prompts as a pass may hold, so a long prompt does not keep the others waiting. A finished conversation stays in its slot until the slot is
needed; a request whose prompt begins like any conversation that lies in a slot takes over that part of its keys and values (the next turn
of a chat, a shared system prompt). Where memory does not hold all that runs, those that came last wait again, and are read again.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from instil.core.errors import UserError
from instil.model.head import LOGITS_PER_CHUNK
from instil.serve.answer import Answer
from instil.serve.sampling import Draw, choose, named
from instil.serve.slots import Slots
from instil.serve.store import Part, Reader
from instil.serve.values import Busy, Constraint, Piece, TokenInfo, Wanted
from instil.template.tokenizer import ChatTokenizer

log = logging.getLogger(__name__)
CHUNK = {"cpu": 512, "cuda": 4096}
"""Tokens of a pass at most: on a CPU a pass of 512 tokens of a small model takes about as long as ten passes that write."""


@dataclass(eq=False)
class Request:
    """A request on its way through the engine. `known`: tokens whose keys and values lie in its slot; `tokens`: prompt and answer."""

    wanted: Wanted
    answer: Answer
    limit: int
    deadline: float
    loop: asyncio.AbstractEventLoop
    pieces: "asyncio.Queue[Piece | Exception]"
    tokens: list[int]
    random: np.random.Generator
    constraint: Constraint | None
    slot: int = -1
    known: int = 0
    written: int = 0
    gone: bool = False
    echoed: list[TokenInfo] = field(default_factory=list)

    @property
    def prompt(self) -> int:
        return len(self.wanted.prompt)

    @property
    def echoes(self) -> bool:
        """Whether its prompt's probabilities are still to be told."""
        return self.wanted.echo and not self.written


class SlotEngine:
    """An `Engine` (see `values`) over one model, which is the engine's alone from now on. `slots`: answers that are written at a time;
    `queue`: requests that may wait; `context`: longest prompt and answer together; `timeout`: seconds that a request may take, waiting
    included; `memory`: bytes for keys and values, which may allow fewer slots, None: no bound; `chunk`: tokens of a pass at most."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: ChatTokenizer,
        stop_ids: Iterable[int],
        *,
        slots: int = 64,
        context: int = 4096,
        queue: int = 256,
        timeout: float = 600.0,
        memory: float | None = None,
        chunk: int | None = None,
    ):
        self._reader = Reader(model, slots, context, memory)
        self._slots = Slots(self._reader.store)
        self._tokenizer, self._stop_ids = tokenizer, frozenset(stop_ids)
        self._context, self._queue, self._timeout = context, queue, timeout
        kind = self._reader.device.type
        self._chunk = chunk or CHUNK.get(kind, CHUNK["cpu"])
        self._most_named = max(1, LOGITS_PER_CHUNK.get(kind, LOGITS_PER_CHUNK["cpu"]) // self._reader.vocabulary)
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []
        self._counts = dict.fromkeys(
            ("requests", "prompt_tokens", "reused_tokens", "generated_tokens", "passes", "refused", "gone", "put_back"), 0
        )
        self._change = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="instil-engine", daemon=True)
        self._thread.start()

    async def submit(self, request: Wanted) -> AsyncIterator[Piece]:
        """Pieces of one answer. Raises Busy where the queue is full or the engine closes. A prompt must leave room for an answer."""
        assert request.prompt and len(request.prompt) <= self._context
        made = self._made(request)
        with self._change:
            if self._closing or len(self._waiting) >= self._queue:
                self._counts["refused"] += 1
                raise Busy
            self._counts["requests"] += 1
            self._counts["prompt_tokens"] += made.prompt
            self._waiting.append(made)
            self._change.notify()
        try:
            while True:
                piece = await made.pieces.get()
                if isinstance(piece, Exception):
                    raise piece
                yield piece
                if piece.finish:
                    return
        finally:
            made.gone = True

    def gauges(self) -> dict[str, float]:
        with self._change:
            return {
                **{name: float(count) for name, count in self._counts.items()},
                "running": float(len(self._running)),
                "waiting": float(len(self._waiting)),
                "cache_bytes": float(self._reader.store.nbytes),
            }

    def close(self, grace: float = 10.0) -> None:
        """Take nothing more, let what runs go on for `grace` seconds, end the rest with "timeout"."""
        with self._change:
            self._closing = True
            end = time.monotonic() + grace
            for request in (*self._waiting, *self._running):
                request.deadline = min(request.deadline, end)
            self._change.notify()
        self._thread.join(grace + 60)

    def _made(self, request: Wanted) -> Request:
        room = self._context - len(request.prompt)
        return Request(
            wanted=request,
            answer=Answer.behind(request.prompt, self._tokenizer, self._stop_ids, request.stop),
            limit=room if request.max_tokens is None else min(room, request.max_tokens),
            deadline=time.monotonic() + self._timeout,
            loop=asyncio.get_running_loop(),
            pieces=asyncio.Queue(),
            tokens=list(request.prompt),
            random=np.random.default_rng(request.seed),
            constraint=request.constraint() if request.constraint else None,
        )

    # From here on: the thread that owns the model.

    def _work(self) -> None:
        while True:
            with self._change:
                while not (self._waiting or self._running or self._closing):
                    self._change.wait()
                if self._closing and not (self._waiting or self._running):
                    return
            try:
                self._sweep()
                self._admit()
                self._fit()
                if self._running:
                    self._pass()
            except Exception as error:  # of the model (memory, mostly): the requests end with it, the engine goes on
                log.exception("a pass failed")
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Whatever runs ends with `error`; what lies in the slots is not trusted any more."""
        for request in list(self._running):
            self._leave(request)
            self._tell([(request, error)])
        self._slots.forget()

    def _admit(self) -> None:
        """Those that have waited longest, as long as there are slots and room in them."""
        while self._waiting and self._finds_slot(self._waiting[0]):  # this thread alone takes from the queue
            with self._change:
                request = self._waiting.popleft()
                self._running.append(request)
            # The last token is read anew in any case: it predicts.
            request.slot, request.known = self._slots.take(request.tokens, 0 if request.echoes else len(request.tokens) - 1)
            if not request.written:
                self._counts["reused_tokens"] += request.known

    def _finds_slot(self, request: Request) -> bool:
        """Whether a slot is free for it now, with room in all; where memory allows, more and shorter slots are made of fewer long ones."""
        need = _longest([request, *self._running])
        if self._reader.store.fitting(need) <= len(self._running):
            return False
        if not self._slots.free:
            self._arrange(self._running, need)
        return True

    def _fit(self) -> None:
        """Room for what this pass reads. Where there is not enough for all, those that came last go back to the head of the queue."""
        store = self._reader.store
        while self._running and store.fitting(_longest(self._running)) < len(self._running):
            self._put_back(self._running[-1])
        if self._running and _longest(self._running) > store.capacity:
            self._arrange(self._running, _longest(self._running))

    def _arrange(self, running: Sequence[Request], need: int) -> None:
        self._slots.arrange([request.slot for request in running], need)
        for slot, request in enumerate(running):
            request.slot = slot

    def _put_back(self, request: Request) -> None:
        self._leave(request)
        request.slot, request.known, request.echoed = -1, 0, []
        with self._change:
            self._waiting.appendleft(request)
        self._counts["put_back"] += 1

    def _sweep(self) -> None:
        """Let go of those whose client has gone, and end those whose time is up, waiting ones as well."""
        now = time.monotonic()
        for request in [r for r in self._running if r.gone]:
            self._counts["gone"] += 1
            self._leave(request)
        late = [r for r in self._running if r.deadline < now]
        with self._change:
            waiting_late = [r for r in self._waiting if r.deadline < now and not r.gone]
            self._waiting = deque(r for r in self._waiting if r.deadline >= now and not r.gone)
        for request in (*late, *waiting_late):
            request.answer.end("timeout")
            if request.slot >= 0:
                self._leave(request)
            self._tell([(request, request.answer.piece())])

    def _pass(self) -> None:
        """Read the next tokens of every conversation, and write one token of each whose prompt is read."""
        parts, tokens, rows, owners = self._planned()
        logits_UV = self._reader.read(tokens, parts, rows)
        self._counts["passes"] += 1
        for request, part in owners:
            self._slots.holds[request.slot] += request.tokens[request.known : request.known + part.count]
            request.known += part.count
        done = [(request, at) for (request, _), at in zip(owners, self._places(owners), strict=True)]
        self._echo(logits_UV, done)
        writing = [(request, at[-1]) for request, at in done if at and request.known == len(request.tokens)]
        told = self._write(logits_UV, writing) if writing else []
        self._tell([(request, request.answer.piece()) for request in told])
        for request in told:
            if request.answer.finish:
                self._leave(request)

    def _planned(self) -> tuple[list[Part], list[int], list[int], list[tuple[Request, Part]]]:
        """Parts, tokens, the places whose logits are needed, and whose part it is: answers first, then prompts in the order they came."""
        parts: list[Part] = []
        tokens: list[int] = []
        rows: list[int] = []
        owners: list[tuple[Request, Part]] = []
        writing = sum(len(r.tokens) - r.known == 1 for r in self._running)
        room = max(self._chunk - writing, self._chunk // 2, 1)  # for prompts: all that write go on, and some prompt does
        named = self._most_named
        for request in sorted(self._running, key=lambda r: len(r.tokens) - r.known > 1):
            count = len(request.tokens) - request.known
            if count > 1:
                count = min(count, room, named if request.echoes else room)
                room -= count
                named -= count if request.echoes else 0
            if not count:
                continue
            part = Part(request.slot, request.known, count)
            if request.echoes and request.known < request.prompt:
                rows += range(len(tokens), len(tokens) + count)
            elif request.known + count == len(request.tokens):
                rows.append(len(tokens) + count - 1)
            tokens += request.tokens[request.known : request.known + count]
            parts.append(part)
            owners.append((request, part))
        return parts, tokens, rows, owners

    @staticmethod
    def _places(owners: Sequence[tuple[Request, Part]]) -> list[range]:
        """Where in the pass's logits each part's lie; `request.known` already counts the part."""
        places, first = [], 0
        for request, part in owners:
            echoes = request.echoes and part.start < request.prompt
            count = part.count if echoes else int(request.known == len(request.tokens))
            places.append(range(first, first + count))
            first += count
        return places

    def _echo(self, logits_UV: Tensor, done: Sequence[tuple[Request, range]]) -> None:
        """Log-probabilities of prompt tokens whose predecessors were read."""
        for request, at in done:
            start = request.known - len(at)
            if not request.echoes or not at or start >= request.prompt:
                continue
            if start == 0:
                request.echoed.append(TokenInfo(request.tokens[0], in_prompt=True))
            targets = request.tokens[start + 1 : start + 1 + len(at)][: request.prompt - start - 1]
            if request.wanted.logprobs is None:
                request.echoed += [TokenInfo(token, in_prompt=True) for token in targets]
            elif targets:
                found = named(logits_UV[at.start : at.start + len(targets)], targets, request.wanted.logprobs)
                request.echoed += [TokenInfo(token, own, top, True) for token, (own, top) in zip(targets, found, strict=True)]

    def _write(self, logits_UV: Tensor, writing: Sequence[tuple[Request, int]]) -> list[Request]:
        """Draw a token for each; returns those that have something to tell."""
        found = [(request, at, self._draw(request)) for request, at in writing]
        ready = [(request, at, draw) for request, at, draw in found if draw is not None]
        if not ready:
            return []
        logits_BV = logits_UV[[at for _, at, _ in ready]]
        tokens = choose(logits_BV, [draw for _, _, draw in ready])
        wishes = [(row, request.wanted.logprobs) for row, (request, _, _) in enumerate(ready) if request.wanted.logprobs is not None]
        infos = [TokenInfo(token) for token in tokens]
        if wishes:
            some = [row for row, _ in wishes]
            named_K = named(logits_BV[some], [tokens[row] for row in some], max(count for _, count in wishes))
            for (row, count), (own, top) in zip(wishes, named_K, strict=True):
                infos[row] = TokenInfo(tokens[row], own, top[:count])
        return [request for (request, _, _), info in zip(ready, infos, strict=True) if self._take(request, info)]

    def _draw(self, request: Request) -> Draw | None:
        """How to draw its next token; None where its constraint fails, which ends this request and no other."""
        wanted, allowed = request.wanted, None
        if request.constraint:
            try:
                allowed = request.constraint.allowed()
            except Exception as error:
                self._refuse(request, error)
                return None
        return Draw(wanted.temperature, wanted.top_p, request.random.random() if wanted.temperature else 0.0, allowed)

    def _refuse(self, request: Request, error: Exception) -> None:
        log.warning("a constraint failed: %s", error)
        self._leave(request)
        self._tell([(request, UserError(f"the answer cannot be kept to what was asked for: {error}"))])

    def _take(self, request: Request, info: TokenInfo) -> bool:
        """Whether the request goes on, or ends, with this token; False: its constraint has failed."""
        if request.limit == 0:  # only the prompt was asked about
            request.answer.end("length")
            return True
        request.written += 1
        self._counts["generated_tokens"] += 1
        request.answer.take(info)
        if request.answer.finish:
            return True
        request.tokens.append(info.id)
        if request.constraint:
            try:
                request.constraint.accept(info.id)
            except Exception as error:
                self._refuse(request, error)
                return False
        if request.written == request.limit:
            request.answer.end("length")
        return True

    def _leave(self, request: Request) -> None:
        with self._change:
            if request.slot >= 0:
                self._slots.give(request.slot)
            self._running.remove(request)

    def _tell(self, news: Sequence[tuple[Request, Piece | Exception | None]]) -> None:
        """Hand pieces to the event loops they belong to, once per loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Request, Piece | Exception]]] = {}
        for request, piece in news:
            if piece is None:
                continue
            if isinstance(piece, Piece) and request.echoed:
                piece = Piece(piece.text, (*request.echoed, *piece.tokens), piece.finish)
                request.echoed = []
            by_loop.setdefault(request.loop, []).append((request, piece))
        for loop, pieces in by_loop.items():
            try:
                loop.call_soon_threadsafe(_deliver, pieces)
            except RuntimeError:  # the loop has closed, and with it whoever asked
                for request, _ in pieces:
                    request.gone = True


def _deliver(pieces: Sequence[tuple[Request, Piece | Exception]]) -> None:
    for request, piece in pieces:
        request.pieces.put_nowait(piece)


def _longest(requests: Sequence[Request]) -> int:
    return max(len(request.tokens) for request in requests)
