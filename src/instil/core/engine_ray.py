"""The engine of a cluster: Ray Data (extra `ray`). The same rows out as the local engine, in the same order.

The work folder must lie where every machine sees it. Ray is asked to send no usage statistics.
"""

import importlib
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from instil.core.engine import Aggregate, How, Make, Parts, write_part, write_parts
from instil.core.engine_local import Local, map_part
from instil.core.errors import UserError

AGGREGATES = {"min": "Min", "max": "Max", "sum": "Sum", "count": "Count"}
JOINS = {"inner": "inner", "left": "left_outer", "anti": "left_anti", "semi": "left_semi"}
PARTITIONS = 8  # of a shuffle, at least; Ray's own 200 are 200 tasks for a table of ten rows, seconds each time


@dataclass(frozen=True, slots=True)
class Ray:
    """Ray Data on the cluster that `RAY_ADDRESS` names, else on a fresh one on this machine.

    Results come back to this machine in blocks and are put in order and written here: what is grouped, joined and sorted is narrow.
    """

    def __post_init__(self) -> None:
        _ray()

    @property
    def name(self) -> str:
        return "ray"

    def map_batches(self, source: Parts, target: Path, make: Make, tick: Callable[[int], None]) -> None:
        """See `Engine`. One task per part, which reads and writes by itself; only counts come back."""
        ray = _started()
        there = {file.name for file in Parts(target).files()}
        task = ray.remote(_map_part)
        running = [task.remote(file, target, make) for file in source.files() if file.name not in there]
        done = 0
        while running:
            finished, running = ray.wait(running)
            done += sum(ray.get(finished))
            tick(done)

    def group(self, source: Parts, target: Path, by: Sequence[str], ask: Mapping[str, tuple[str, Aggregate]]) -> None:
        """See `Engine`."""
        aggregates = importlib.import_module("ray.data.aggregate")
        columns = [*by, *{column for column, _ in ask.values()} - set(by)]
        wanted = [
            getattr(aggregates, AGGREGATES[kind])(on=column, alias_name=name, ignore_nulls=True) for name, (column, kind) in ask.items()
        ]
        _write(_read(source, columns).groupby(list(by)).aggregate(*wanted), target, [*by, *ask])

    def join(self, left: Parts, right: Parts, target: Path, on: Sequence[str], how: How) -> None:
        """See `Engine`."""
        more = [name for name in right.columns() if name not in on] if how in ("inner", "left") else []
        joined = _read(left).join(_read(right, [*on, *more]), JOINS[how], _partitions(), on=tuple(on))
        _write(joined, target, [*left.columns(), *more])

    def sort(self, source: Parts, target: Path, by: Sequence[str], first: int | None = None) -> None:
        """See `Engine`."""
        ordered = _read(source).sort(list(by))
        _write(ordered if first is None else ordered.limit(first), target, source.columns(), by)


def _ray() -> Any:
    """The package, imported when it is needed: it is an extra, and takes seconds. Raises UserError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        importlib.import_module("ray.data")
    except ModuleNotFoundError as error:
        raise UserError("--engine ray needs Ray: install it with pip install 'instil[curate,ray]'") from error
    return importlib.import_module("ray")


def _started() -> Any:
    ray = _ray()
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False, logging_level="ERROR")
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells of every query's beginning and end
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.default_hash_shuffle_parallelism = _partitions()
    return ray


def _partitions() -> int:
    """Of a shuffle: two for each core of the cluster."""
    return max(PARTITIONS, 2 * int(_ray().cluster_resources().get("CPU", 0)))


def _map_part(file: Path, target: Path, make: Make) -> int:
    return map_part(file, target, make())


def _read(source: Parts, columns: Sequence[str] | None = None) -> Any:
    """Blocks that tasks read, file by file. Ray's own `read_parquet` resolves paths in threads that trip over each other's imports where an
    optional package of its file systems is missing (2.60)."""
    ray = _started()
    task = ray.remote(_load)
    return ray.data.from_arrow_refs([task.remote(file, list(columns) if columns else None) for file in source.files()])


def _load(file: Path, columns: list[str] | None) -> pa.Table:
    return pq.read_table(file, columns=columns)


def _write(found: Any, target: Path, columns: Sequence[str], by: Sequence[str] | None = None) -> None:
    """The blocks of a result, in the order that the local engine gives it."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        blocks = (block.select(list(columns)) for block in found.iter_batches(batch_format="pyarrow", batch_size=None) if block.num_rows)
        write_parts(Path(folder), blocks)
        if Parts(Path(folder)).files():
            Local().sort(Parts(Path(folder)), target, by or columns)
        else:
            write_part(target / "part-000000.parquet", pa.table({name: pa.nulls(0) for name in columns}))
