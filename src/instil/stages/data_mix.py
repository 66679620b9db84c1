"""`instil data mix`: a plan of how much of what, the hold-out with its purge, and the rows in the plan's order."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

from instil.core.engine import Bench, Parts, in_parts
from instil.core.errors import UserError, nearest
from instil.core.rows import decode
from instil.core.sections import read_yaml
from instil.core.values import EXAMPLE
from instil.core.verbs import Mix, MixStage
from instil.curate.candidates import candidates
from instil.curate.documents import both
from instil.curate.duplicates import exact_duplicates, exact_keys
from instil.curate.holdout import HoldOut, Near, Sides, hold_out
from instil.curate.minhash import Banding
from instil.curate.mixing import Cell, Mixture, Plan, Replay, Shares, Stage, lines_by_task, plan_mixture
from instil.curate.mixing_order import MixtureOrder
from instil.curate.similarity import measure
from instil.stages.data_diff import prompt_key
from instil.stages.data_measure import as_conversation, token_counts, tokenizer_file
from instil.stages.data_near import prepare_near
from instil.stages.data_read import FATE_SCHEMA
from instil.stages.data_request import Request
from instil.stages.data_write import Decision
from instil.template.tokenizer import read_resolved

CARDS = pa.schema(
    [("position", pa.int64()), ("id", pa.string()), ("source", pa.string()), ("task", pa.string()), ("upstream", pa.string())]
    + [("prompt", pa.uint64()), ("tokens", pa.int64()), ("shown", pa.bool_()), ("scope", pa.uint64())]
    + [("exact_0", pa.uint64()), ("exact_1", pa.uint64()), ("parts", pa.list_(pa.large_string()))]
)
NARROW = ["position", "id", "source", "task", "upstream", "prompt", "tokens", "shown"]


def mix_rows(bench: Bench, rows: Parts, request: Request) -> Decision:
    """Hold out, purge, plan, draw. Raises UserError for knobs that contradict the data or each other."""
    knobs = request.knobs
    assert isinstance(knobs, Mix)
    banding = Banding(threshold=knobs.purge) if knobs.purge and _holds(knobs) else None
    cards = bench.map_batches("cards", rows, partial(_carding, tokenizer_file(knobs.model)))
    table = cards.table(NARROW)
    near = _near(bench, cards, banding) if banding else None
    sides = divide(table, knobs, near)
    cells, members = cells_of(table, sides.trained)
    plan = plan_mixture(cells, mixture_of(knobs, sorted({cell.source for cell in cells})))
    order = MixtureOrder(plan, knobs.seed)
    stages = np.repeat(np.arange(1, len(plan.stages) + 1), [sum(plan.rows(stage)) for stage in range(len(plan.stages))])
    drawn = [members[cell][row] for cell, row in order.rows_between(0, len(order))]
    positions = table.column("position").to_numpy()
    fates = bench.hold("left", lambda: in_parts(_fates(table, sides, frozenset(drawn)), FATE_SCHEMA, lambda _: 1))
    repeated = ("some rows stand there more than once: train on it with `duplicates: keep`",) if len(set(drawn)) < len(drawn) else ()
    staged = ("every row has its `stage`: train on it with `stage: by row` and one epoch",) if len(plan.stages) > 1 else ()
    facts = {"plan": [asdict(line) for line in lines_by_task(plan)], "purged": len(sides.purged)}
    return Decision(
        fates,
        order=positions[np.array(drawn, np.int64)].tolist(),
        stages=stages.tolist() if staged else None,
        facts=facts,
        files={"plan.json": _plan_lines(plan)},
        notes=(*plan.sentences, *repeated, *staged),
    )


def divide(table: pa.Table, knobs: Mix, near: Near | None) -> Sides:
    """Held out and to train. Raises UserError."""
    wanted = HoldOut(knobs.hold_rows, tuple(knobs.hold_tasks), tuple(knobs.hold_clusters), tuple(knobs.hold_upstreams))
    clusters = {str(task): str(cluster) for task, cluster in read_yaml(knobs.clusters)[0].items()} if knobs.clusters else {}
    tasks = [task or None for task in table.column("task").to_pylist()]
    prompts = table.column("prompt").to_numpy()
    shown = table.column("shown").to_numpy()
    return hold_out(prompts, tasks, table.column("upstream").to_pylist(), wanted, clusters, knobs.seed, near, shown)


def cells_of(table: pa.Table, trained: np.ndarray) -> tuple[list[Cell], list[list[int]]]:
    """The cells of a mixture in order of source and task, and the rows of each in order of their ids: no order of files plays a part."""
    ids, sources, tasks, tokens = (table.column(name).to_pylist() for name in ("id", "source", "task", "tokens"))
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in trained.tolist():
        found[sources[row], tasks[row]].append(row)
    cells, members = [], []
    for (source, task), rows in sorted(found.items()):
        cells.append(Cell(source, task or None, len(rows), sum(tokens[row] or 0 for row in rows)))
        members.append(sorted(rows, key=lambda row: (ids[row], row)))
    return cells, members


def mixture_of(knobs: Mix, sources: Sequence[str]) -> Mixture:
    """The knobs with sources by their full names; a file's own name, its stem or a part of its path is enough where only one fits."""
    stages = tuple(Stage(stage.name, stage.share, _shares(stage, sources)) for stage in knobs.stages)
    replay = Replay(tuple(_named(name, sources) for name in knobs.replay.sources), knobs.replay.share) if knobs.replay else None
    return Mixture(_shares(knobs, sources), knobs.unit, knobs.epochs, knobs.budget, stages, replay)


def _shares(knobs: Mix | MixStage, sources: Sequence[str]) -> Shares:
    weights = {_named(name, sources): weight for name, weight in knobs.weight.items()} or None
    only = tuple(_named(name, sources) for name in knobs.sources) or None if isinstance(knobs, MixStage) else None
    return Shares(knobs.cap, knobs.temperature, weights, only)


def _named(name: str, sources: Sequence[str]) -> str:
    fits = [
        source for source in sources if name in (source, Path(source).name, Path(source).stem) or source.startswith(f"{name.rstrip('/')}/")
    ]
    if name in sources:
        return name
    if len(fits) != 1:
        raise UserError(f"source '{name}': {f'{len(fits)} sources are called so' if fits else 'there is none'}; {nearest(name, sources)}")
    return fits[0]


def _holds(knobs: Mix) -> bool:
    return bool(knobs.hold_rows or knobs.hold_tasks or knobs.hold_clusters or knobs.hold_upstreams)


def _carding(tokenizer: str | None) -> Callable[[pa.Table], pa.Table]:
    encoder = read_resolved(Path(tokenizer)) if tokenizer else None

    def change(table: pa.Table) -> pa.Table:
        kept = [record for record in table.to_pylist() if record["outcome"] == "kept"]
        values = [decode(record["row"]).value for record in kept]
        parts = [both(as_conversation(value)) for value in values]
        exact = exact_keys(parts).tolist()
        tokens = token_counts(values, encoder)
        records = []
        for record, value, texts, key, count in zip(kept, values, parts, exact, tokens, strict=True):
            about = {name: record[name] for name in ("position", "id", "source", "task", "upstream")}
            about |= {"exact_0": key[0], "exact_1": key[1], "scope": 0, "shown": bool(value.extra.get(EXAMPLE))}
            records.append({**about, "prompt": int(prompt_key(value)[:16], 16), "tokens": count, "parts": list(texts)})
        return pa.Table.from_pylist(records, CARDS)

    return change


def _near(bench: Bench, cards: Parts, banding: Banding) -> Near:
    """Near pairs across the line, verified. All rows are one scope here: what is held out of one task may stand in another."""
    table = cards.table(["position", "scope", "exact_0", "exact_1"])
    exact = exact_duplicates(np.stack([table.column(name).to_numpy() for name in ("exact_0", "exact_1")], axis=1), np.arange(len(table)))
    compared, keys = prepare_near(bench, cards, table.column("scope").to_numpy(), exact != np.arange(len(table)), banding)

    def near(held: np.ndarray, trained: np.ndarray) -> Iterator[tuple[int, int]]:
        # Held-out rows first: of equal rows the first stands for all, and each of the others is compared with it.
        order = np.concatenate((held, trained))
        ordered = compared.in_order(order)
        for found in candidates(keys[order], ordered, banding):
            crosses = (found.left < len(held)) & (found.right >= len(held))
            pairs = measure(found.left[crosses], found.right[crosses], ordered, banding.words, at_least=banding.threshold)
            reach = pairs.similarity >= np.float32(banding.threshold)
            yield from zip(order[pairs.left[reach]].tolist(), order[pairs.right[reach]].tolist(), strict=True)

    return near


def _fates(table: pa.Table, sides: Sides, drawn: frozenset[int]) -> Iterator[dict[str, Any]]:
    positions, ids = (table.column(name).to_pylist() for name in ("position", "id"))
    for row, (position, why) in enumerate(zip(positions, sides.held, strict=True)):
        if why is not None:
            yield {"position": position, "outcome": "held out", "reason": why.split()[0], "detail": why}
        elif row in sides.purged:
            yield {"position": position, "outcome": "duplicate", "reason": "near_held_out", "other": ids[sides.purged[row]]}
        elif row not in drawn:
            yield {"position": position, "outcome": "not selected", "reason": "not_drawn"}


def _plan_lines(plan: Plan) -> Iterator[str]:
    record: Mapping[str, Any] = {"stages": plan.stages, "cells": [asdict(c) for c in plan.cells], "draws": [asdict(d) for d in plan.draws]}
    lines = [
        {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in asdict(line).items()} for line in lines_by_task(plan)
    ]
    yield json.dumps({**record, "tasks": lines, "sentences": plan.sentences}, indent=2, ensure_ascii=False)
