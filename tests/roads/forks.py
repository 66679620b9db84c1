"""Runs of the command line at the price of a fork: one process imports torch once and forks a child for every run.

Started as `python -m tests.roads.forks`, it reads one JSON request a line and answers with one JSON line. A child is a process of its own:
it can be killed at any moment, and its exit code, stdout and stderr are what `instil` would leave.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# Calls after which the disk differs from before: a kill just before each of them leaves every state that a kill at any time can leave,
# but for half-written files.
STEPS_ON_DISK = ("replace", "rename", "unlink", "rmdir", "mkdir", "fsync")

LONGEST = 120  # seconds after which a run is taken to hang, and killed


@dataclass(frozen=True)
class Done:
    """How a run ended. `code`: exit code, or minus the signal's number. `count`: calls of `STEPS_ON_DISK`, if they were asked for."""

    code: int
    out: str
    err: str
    seconds: float
    count: int = 0


class Forks:
    """The forking process, as seen from a test."""

    def __init__(self, environment: Mapping[str, str]):
        command = [sys.executable, "-m", "tests.roads.forks"]
        variables = {**os.environ, **environment, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables, cwd=ROOT)

    def run(self, *args: object, cwd: Path, **request: Any) -> Done:
        """`instil ARGS` in `cwd`.

        `after`: seconds until it is sent `signal` (default: SIGKILL); `after_file`: it is sent when that file exists; `then_kill`: seconds
        from then to SIGKILL. `kill_at`: the step on disk that it dies before (from 1). `count`: count them. `input`: stdin. `ranks`: start
        so many, as torchrun does; `aim`: which of them gets the signal (0); `all_errors`: stderr of all of them. `environment`: further
        variables. `expect`: the exit code.
        """
        expected = request.pop("expect", None)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"args": [str(arg) for arg in args], "cwd": str(cwd), **request}) + "\n")
        self._process.stdin.flush()
        done = Done(**json.loads(self._process.stdout.readline()))
        assert expected is None or done.code == expected, f"exit code {done.code}\n{done.out}\n{done.err}"
        return done

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._process.stdout.close()


def serve() -> None:
    import instil.cli.chat
    import instil.cli.train
    import instil.stages.look
    import instil.stages.talk
    import instil.stages.tune  # noqa: F401  all that a run needs, imported before the first fork

    for line in sys.stdin:
        print(json.dumps(_fork(json.loads(line))), flush=True)


def _fork(request: dict[str, Any]) -> dict[str, Any]:
    began, ranks = time.monotonic(), request.get("ranks", 1)
    if ranks > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        request["environment"] = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in ("in", "out", "err", "count")}
        pids = [_start(request, {name: f.with_suffix(f".{rank}") for name, f in files.items()}, rank) for rank in range(1, ranks)]
        pids.insert(0, _start(request, files, 0))
        aim, number = request.get("aim", 0), request.get("signal", signal.SIGKILL)
        status = _wait(pids.pop(aim), _moment(request, began), number, request.get("then_kill", LONGEST))
        for pid in pids:
            status = _wait(pid, _moment({}, began), signal.SIGKILL, LONGEST) or status
        count = int(files["count"].read_text()) if files["count"].exists() else 0
        texts = [files[name].read_text(encoding="utf-8", errors="replace") for name in ("out", "err")]
        if request.get("all_errors"):
            texts[1] += "".join((Path(folder) / f"err.{rank}").read_text(encoding="utf-8") for rank in range(1, ranks))
        return dict(zip(("code", "out", "err", "seconds", "count"), (status, *texts, time.monotonic() - began, count), strict=True))


def _start(request: dict[str, Any], files: dict[str, Path], rank: int) -> int:
    pid = os.fork()
    if pid == 0:
        _child(request, files, rank)
    return pid


def _moment(request: dict[str, Any], began: float) -> Callable[[], bool]:
    """Whether it is time for the signal."""
    if "after_file" in request:
        return Path(request["after_file"]).exists
    return lambda: time.monotonic() >= began + request.get("after", LONGEST)


def _wait(pid: int, moment: Callable[[], bool], number: int, then_kill: float) -> int:
    sent = None
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if sent is None and moment():
            os.kill(pid, number)
            sent = time.monotonic()
        if sent is not None and time.monotonic() > sent + then_kill:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


def _child(request: dict[str, Any], files: dict[str, Path], rank: int) -> None:
    files["in"].write_text(request.get("input", ""), encoding="utf-8")
    for number, name in enumerate(("in", "out", "err")):
        os.dup2(os.open(files[name], os.O_RDWR | os.O_CREAT), number)
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115  the requests were read from the old one
    os.chdir(request["cwd"])
    signal.alarm(LONGEST)
    os.environ.update({"RANK": str(rank), **request.get("environment", {})})
    made = _count_steps(request.get("kill_at")) if "kill_at" in request or request.get("count") else None
    code = _call(request["args"])
    sys.stdout.flush()
    sys.stderr.flush()
    if made is not None:
        files["count"].write_text(str(made()))
    os._exit(code)


def _call(args: Sequence[str]) -> int:
    from instil.cli import main  # imported by `serve` already

    try:
        main(list(args))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # as the interpreter would
        traceback.print_exc()
        return 1
    return 0


def _count_steps(last: int | None) -> Callable[[], int]:
    made = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)

        return step

    for name in STEPS_ON_DISK:
        setattr(os, name, counted(getattr(os, name)))
    return lambda: made


if __name__ == "__main__":
    serve()
