"""A rank that dies or hangs ends the run with its reason, on every rank, instead of leaving the others waiting for hours.

Every rank's watch is a thread that tells the others once a second how far its rank is, through the store where torchrun's ranks met. The
first rank's watch reads what all tell and gives the verdict, so that each second costs a message or two per rank, however many there are.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import FrameType
from typing import Any

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, TCPStore

from instil.core.errors import UserError
from instil.train.distributed import World, join_world, leave_world

LOST = 60.0
"""Seconds without a word after which a rank counts as dead: longer than a machine under load keeps a thread waiting."""
BROKEN = 1
"""Exit code of a run that another rank's end has ended."""


class Watch:
    """Watches the ranks of one run from a thread; `progress` keeps it content.

    `patience`: seconds without progress, once there has been some, after which the run hangs. `end` ends the process, `say` prints a
    sentence.
    """

    def __init__(
        self,
        world: World,
        patience: float,
        *,
        store: Any,
        beat: float = 1.0,
        end: Callable[[int], Any] = os._exit,
        say: Callable[[str], None] | None = None,
    ):
        self.continued = ""
        """How the run is continued, once it has a folder."""
        self._world, self._patience, self._store, self._beat = world, patience, store, beat
        self._lost = min(LOST, patience)
        self._end, self._say = end, say or _print_error
        self._done, self._moved = "", 0.0
        self._failed: tuple[str, int] | None = None  # why, and the exit code
        self._leaving = False
        self._left = threading.Event()
        unheard = {"who": "", "done": "", "doing": "its start", "failed": None, "left": False, "still": 0.0}
        watched = range(world.size) if world.leads else range(1)
        self._heard: dict[int, tuple[float, dict[str, Any]]] = {rank: (time.monotonic(), unheard) for rank in watched}
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self._guard = threading.Thread(target=self._watch_store, name="guard", daemon=True)
        self._turned = time.monotonic()
        self._main = threading.get_ident()

    def start(self) -> None:
        self._thread.start()
        self._guard.start()

    def progress(self, done: str) -> None:
        """`done`: what this rank has finished, such as `step 12`."""
        self._done, self._moved = done, time.monotonic()

    def finish(self) -> None:
        """This rank is done and waits for the others; the first one to leave may take the store along."""
        self._leaving = True

    def leave(self) -> None:
        """All ranks are done and need no watching any more."""
        self._left.set()
        self._thread.join(self._lost)
        with contextlib.suppress(dist.DistError, RuntimeError):
            self._tell(left=True)

    def fail(self, error: BaseException) -> None:
        """This rank ends because of `error`: all others shall. Returns where it is for this rank to say why; where it is only another
        rank's victim, or an earlier rank says the same, it waits for the verdict, which ends the process."""
        if not is_victim(error):
            plain = isinstance(error, UserError)
            self._failed = (str(error), 2) if plain else (f"{type(error).__name__}: {error}", BROKEN)
        self._left.wait(self._lost + 5 * self._beat if self._failed is None else 2.5 * self._beat)

    def _watch(self) -> None:
        while not self._left.wait(self._beat):
            self._turned = time.monotonic()
            try:
                self._tell()
                verdict = self._judge() if self._world.leads else self._read_verdict()
            except (dist.DistError, RuntimeError):  # the store went with the process that held it
                verdict = None if self._leaving else {"rank": 0, "sentence": self._gone(0, "does not answer"), "speaker": 1}
            if verdict is not None and not self._left.is_set():
                self._obey(verdict)
                return

    def _watch_store(self) -> None:
        """A store in a process that is stopped, not dead, keeps whoever asks it waiting without end."""
        while not self._left.wait(self._beat):
            if time.monotonic() - self._turned > self._lost + self._beat and not self._leaving:
                self._obey({"rank": 0, "sentence": self._gone(0, "does not answer"), "speaker": 1})
                return

    def _obey(self, verdict: dict[str, Any]) -> None:
        """One rank says it; a rank that failed says itself why, unless an earlier one failed as well."""
        if self._world.rank == verdict["rank"] and self._failed is not None:
            self._left.wait(30 * self._beat)  # it is on its way out
        if self._world.rank == verdict["speaker"]:
            self._say(verdict["sentence"] + self._advice())
        if self._world.leads:
            time.sleep(2.5 * self._beat)  # the others read the verdict from a store that may end with this process
        self._end(verdict.get("code", BROKEN))

    def _advice(self) -> str:
        return f"; continue with {self.continued}" if self.continued else ""

    def _tell(self, left: bool = False) -> None:
        told = {"at": time.monotonic(), "done": self._done, "failed": self._failed, "left": left, "who": _who(), "doing": self._doing()}
        self._store.set(f"rank {self._world.rank}", json.dumps({**told, "still": time.monotonic() - self._moved if self._moved else 0.0}))

    def _judge(self) -> dict[str, Any] | None:
        """The first rank's part: read what all have told, and pass a verdict on whoever is dead, has failed, or makes all others wait."""
        now = time.monotonic()
        for rank in range(self._world.size):
            told = self._read(f"rank {rank}")
            if told is not None and self._heard[rank][1] != told:
                self._heard[rank] = now, told
        verdict = self._failure() or self._loss(now) or self._standstill(now)
        if verdict is not None:
            self._store.set("verdict", json.dumps(verdict))
        return verdict

    def _failure(self) -> dict[str, Any] | None:
        for rank, (_, told) in sorted(self._heard.items()):
            if told["failed"] is not None:
                return {"rank": rank, "sentence": f"rank {rank} failed", "speaker": None, "code": told["failed"][1]}
        return None

    def _loss(self, now: float) -> dict[str, Any] | None:
        for rank, (heard, told) in sorted(self._heard.items()):
            if not told["left"] and now - heard > self._lost:
                return {"rank": rank, "sentence": self._gone(rank, f"has not answered for {now - heard:.0f} seconds", told), "speaker": 0}
        return None

    def _standstill(self, now: float) -> dict[str, Any] | None:
        """All live, and nothing moves: named is who does not wait for others. While one is silent, it is too early to say."""
        here = {rank: told for rank, (_, told) in self._heard.items() if not told["left"]}
        silent = any(now - self._heard[rank][0] > min(5 * self._beat, self._lost / 2) for rank in here)
        if not here or silent or min(told["still"] for told in here.values()) <= self._patience:
            return None
        busy = {rank: told for rank, told in here.items() if not told["doing"].startswith("torch.distributed")} or here
        rank, told = min(busy.items())
        others = f" (so do {len(busy) - 1} others)" if len(busy) > 1 else ""
        what = f"hangs: nothing was finished for {told['still'] / 60:.3g} minutes (train.timeout); it is at {told['doing']}{others}"
        return {"rank": rank, "sentence": self._gone(rank, what, told), "speaker": 0}

    def _gone(self, rank: int, what: str, told: dict[str, Any] | None = None) -> str:
        """The sentence about a rank."""
        who = f" {told['who']}" if told and told["who"] else ""
        done = (told["done"] if told else self._done) or "nothing yet"
        return f"rank {rank}{who} {what}, and the run cannot go on without it; finished by then: {done}"

    def _read_verdict(self) -> dict[str, Any] | None:
        """The verdict; the other ranks' own one where the first rank is silent."""
        if (verdict := self._read("verdict")) is not None:
            return verdict
        now, told = time.monotonic(), self._read("rank 0")
        if told is not None and self._heard[0][1] != told:
            self._heard[0] = now, told
        lost = self._loss(now - 2 * self._beat)
        return None if lost is None else {**lost, "speaker": 1}

    def _read(self, key: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = json.loads(self._store.get(key)) if self._store.check([key]) else None
        return found

    def _doing(self) -> str:
        """Where the main thread is: the innermost function of instil's, or of torch.distributed if it waits for others."""
        frame: FrameType | None = sys._current_frames().get(self._main)
        while frame is not None:
            module = str(frame.f_globals.get("__name__"))
            if module.startswith(("instil.", "torch.distributed.")):
                return f"{module}.{frame.f_code.co_name}, line {frame.f_lineno}"
            frame = frame.f_back
        return "its start"


def is_victim(error: BaseException) -> bool:
    """Whether an error says only that another rank is gone."""
    words = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and any(word in str(error) for word in words))


def _who() -> str:
    return f"({socket.gethostname()}, process {os.getpid()})"


def _print_error(sentence: str) -> None:
    cursor = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # a progress bar hides it
    print(f"{cursor}error: {sentence}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def together(minutes: float) -> Iterator[tuple[World, Watch | None]]:
    """The world that this process is a rank of, watched; alone, a world of one and no watch. An error on one rank ends all."""
    world = join_world()
    if world.size == 1:
        yield world, None
        return
    watch = Watch(world, 60 * minutes, store=_store())
    watch.start()
    try:
        yield world, watch
        watch.finish()
        world.wait()
    except BaseException as error:
        watch.fail(error)
        raise
    watch.leave()
    leave_world()


def _store() -> Any:
    """A connection of the watch's own: one that waits for something would keep it waiting."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"instil {attempt}", TCPStore(address, port, is_master=False, timeout=timedelta(seconds=30)))
