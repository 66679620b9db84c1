"""`instil train --gpus N`: one process per GPU of this machine, as torchrun would start them, watched until all have ended."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from types import FrameType

from instil.core.errors import UserError

GRACE = 5.0
"""Seconds that the other ranks have to end by themselves, and to say why, when one has ended badly."""
COMMAND = (sys.executable, "-m", "instil")
Process = subprocess.Popen[bytes]


def launch(arguments: Sequence[str], ranks: int, resume: str) -> int:
    """Run `instil ARGUMENTS` in `ranks` processes; the first one's output is what is seen. Returns the exit code.

    If a process ends badly, the others are ended, and how it ended is said where it cannot have said so itself. `resume`: how the run is
    continued. Raises UserError where there are fewer GPUs; where there are none, the processes share the CPU.
    """
    shared = _shared_variables(ranks)
    command = [*COMMAND, *arguments]
    processes = [subprocess.Popen(command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(ranks)]
    with _passing_signals(processes):
        bad = _first_bad_end(processes)
        if bad is None:
            return 0
        deadline = time.monotonic() + GRACE
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            time.sleep(0.05)
        for process in processes:
            process.kill()
            process.wait()
    return _explain(processes, bad, resume)


def _shared_variables(ranks: int) -> dict[str, str]:
    """torchrun's. Ranks on a CPU share its cores."""
    import torch  # seconds, and only where ranks are started

    gpus = torch.cuda.device_count()
    if gpus and ranks > gpus:
        raise UserError(f"--gpus {ranks}: this machine has {gpus}: ask for {gpus}, or start ranks on several machines with torchrun")
    if not gpus:
        print(f"no GPU is here: {ranks} processes share the CPU", file=sys.stderr)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = {} if gpus else {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return {**os.environ, **threads, **place, "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}


def _first_bad_end(processes: Sequence[Process]) -> int | None:
    """The rank that ends badly first, as soon as it does; None when all have ended well."""
    while True:
        codes = [process.poll() for process in processes]
        for rank, code in enumerate(codes):
            if code:
                return rank
        if all(code == 0 for code in codes):
            return None
        time.sleep(0.05)


def _explain(processes: Sequence[Process], bad: int, resume: str) -> int:
    code = processes[bad].returncode
    if code < 0:
        name = signal.Signals(-code).name
        why = f"{name}, as the system does when memory runs out" if -code == signal.SIGKILL else name
        who = f"rank {bad} (process {processes[bad].pid})"
        print(f"error: {who} was ended by {why}, and the run cannot go on without it; continue with {resume}", file=sys.stderr)
        return 1
    return int(code)


@contextlib.contextmanager
def _passing_signals(processes: Sequence[Process]) -> Iterator[None]:
    """SIGTERM goes on to every rank; Ctrl-C has reached them already. They end in a checkpoint, and this process waits for that."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes if number == signal.SIGTERM else ():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
