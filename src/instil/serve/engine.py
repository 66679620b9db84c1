"""Continuous batching: requests join and leave a running batch between two passes of the model.

One thread owns the model. A pass reads, in one flat row, the next token of every answer that is being written and as many tokens of waiting
prompts as a pass may hold, so a long prompt does not keep the others waiting. A finished conversation stays in its slot until the slot is
needed; a request whose prompt begins like any conversation that lies in a slot takes over that part of its keys and values (the next turn
of a chat, a shared system prompt).
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

from instil.serve.answer import Answer
from instil.serve.sampling import Draw, choose, named
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


class SlotEngine:
    """An `Engine` (see `values`) over one model, which is the engine's alone from now on. `slots`: answers that are written at a time; `queue`: requests that may wait; `context`:
    longest prompt and answer together; `timeout`: seconds that a request may take, waiting included."""

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
        chunk: int | None = None,
    ):
        self._reader = Reader(model, slots, context)
        self._tokenizer, self._stop_ids = tokenizer, frozenset(stop_ids)
        self._context, self._queue, self._timeout = context, queue, timeout
        self._chunk = chunk or CHUNK.get(self._reader.device.type, CHUNK["cpu"])
        self._holds: list[list[int]] = [[] for _ in range(slots)]  # tokens whose keys and values lie in each slot
        self._free = dict.fromkeys(range(slots))  # the first was used longest ago
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []
        self._counts = dict.fromkeys(("requests", "prompt_tokens", "reused_tokens", "generated_tokens", "passes", "refused", "gone"), 0)
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
                self._admit()
            self._sweep()
            try:
                if self._running:
                    self._pass()
            except Exception as error:  # of the model (memory, mostly): the requests end with it, the engine goes on
                log.exception("a pass failed")
                for request in list(self._running):
                    self._leave(request, keep=False)
                    self._tell([(request, error)])

    def _admit(self) -> None:
        while self._waiting and self._free:
            request = self._waiting.popleft()
            if not request.gone:
                request.slot, request.known = self._place(request)
                self._running.append(request)

    def _place(self, request: Request) -> tuple[int, int]:
        """A free slot, and how many of the prompt's tokens it holds by now. At least the prompt's last token is read anew: it predicts."""
        most = 0 if request.wanted.echo else len(request.tokens) - 1
        common = {slot: min(_common(held, request.tokens), most) for slot, held in enumerate(self._holds)}
        best = max(common, key=lambda slot: (common[slot], slot in self._free))
        shared = common[best]
        # A slot that holds much else which another turn may go on from is copied from, not overwritten.
        takes = shared and best in self._free and shared >= len(self._holds[best]) // 2
        slot = best if takes else min(self._free, key=lambda free: bool(self._holds[free]))
        del self._free[slot]
        if shared and slot != best:
            self._reader.store.copy(best, slot, shared)
        self._holds[slot] = request.tokens[:shared]
        self._counts["prompt_tokens"] += len(request.tokens)
        self._counts["reused_tokens"] += shared
        return slot, shared

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
            self._holds[request.slot] += request.tokens[request.known : request.known + part.count]
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
        room = max(self._chunk, 1)
        for request in sorted(self._running, key=lambda r: r.known < r.prompt and len(r.tokens) - r.known > 1):
            count = min(len(request.tokens) - request.known, room)
            if count <= 0:
                continue
            room -= count
            part = Part(request.slot, request.known, count)
            if request.wanted.echo and request.known < request.prompt:
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
            echoes = request.wanted.echo and part.start < request.prompt
            count = part.count if echoes else int(request.known == len(request.tokens))
            places.append(range(first, first + count))
            first += count
        return places

    def _echo(self, logits_UV: Tensor, done: Sequence[tuple[Request, range]]) -> None:
        """Log-probabilities of prompt tokens whose predecessors were read."""
        for request, at in done:
            start = request.known - len(at)
            if not request.wanted.echo or not at or start >= request.prompt:
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
        logits_BV = logits_UV[[at for _, at in writing]]
        draws = [self._draw(request) for request, _ in writing]
        tokens = choose(logits_BV, draws)
        wishes = [(row, request.wanted.logprobs) for row, (request, _) in enumerate(writing) if request.wanted.logprobs is not None]
        infos = [TokenInfo(token) for token in tokens]
        if wishes:
            some = [row for row, _ in wishes]
            found = named(logits_BV[some], [tokens[row] for row in some], max(count for _, count in wishes))
            for (row, count), (own, top) in zip(wishes, found, strict=True):
                infos[row] = TokenInfo(tokens[row], own, top[:count])
        for (request, _), info in zip(writing, infos, strict=True):
            self._take(request, info)
        return [request for request, _ in writing]

    def _draw(self, request: Request) -> Draw:
        wanted = request.wanted
        allowed = request.constraint.allowed() if request.constraint else None
        return Draw(wanted.temperature, wanted.top_p, request.random.random() if wanted.temperature else 0.0, allowed)

    def _take(self, request: Request, info: TokenInfo) -> None:
        if request.limit == 0:  # only the prompt was asked about
            request.answer.end("length")
            return
        request.written += 1
        self._counts["generated_tokens"] += 1
        request.answer.take(info)
        if request.answer.finish:
            return
        request.tokens.append(info.id)
        if request.constraint:
            request.constraint.accept(info.id)
        if request.written == request.limit:
            request.answer.end("length")

    def _leave(self, request: Request, keep: bool = True) -> None:
        if not keep:
            self._holds[request.slot] = []
        with self._change:
            self._free[request.slot] = None
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


def _common(one: Sequence[int], two: Sequence[int]) -> int:
    """Length of the longest common beginning."""
    size = min(len(one), len(two))
    if one[:size] == two[:size]:
        return size
    return next(i for i in range(size) if one[i] != two[i])
