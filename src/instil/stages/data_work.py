"""The unfinished work of a data verb: a hidden folder beside the result, keyed by the request, locked while somebody works in it."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from instil.core.engine import Bench, Engine, Tick
from instil.core.errors import UserError
from instil.core.files import disk_errors
from instil.core.verbs import Running
from instil.stages.data_request import Request

KEY_CHARACTERS = 16


def engine_of(running: Running, cores: int) -> Engine:
    """Raises UserError where the engine is not installed."""
    if running.engine == "ray":
        from instil.core.engine_ray import Ray  # an extra

        return Ray()
    from instil.core.engine_local import Local  # Polars, which `instil train` does without

    return Local(running.workers or cores)


def work_folder(out: Path, request: Request) -> Path:
    return out.parent / f".{out.name}.{request.key()[:KEY_CHARACTERS]}.partial"


@contextlib.contextmanager
def bench_for(out: Path | None, request: Request, engine: Engine, tick: Tick) -> Iterator[Bench]:
    """Where a verb that will write `out` works; what an interrupted one has finished is still there. Nothing to write: a passing folder.

    The folder stays until `forget_work`. Raises UserError where another process works in it.
    """
    if out is None:
        with tempfile.TemporaryDirectory(prefix="instil-") as passing:
            yield Bench(engine, Path(passing), tick)
        return
    folder = work_folder(out, request)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, out):
        yield Bench(engine, folder.absolute(), tick)  # a worker's own folder is where its engine was started, not where this verb was


def forget_work(out: Path) -> None:
    """Remove the unfinished work for `out`, also of other requests: it exists now, and nothing will be written over it."""
    for folder in out.parent.glob(f".{_escaped(out.name)}.*.partial"):
        if len(folder.name) == len(f".{out.name}.") + KEY_CHARACTERS + len(".partial"):
            shutil.rmtree(folder, ignore_errors=True)


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


@contextlib.contextmanager
def _locked(folder: Path, out: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with open(folder / "lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process is writing {out}: wait for it, or choose another --out") from None
        yield
