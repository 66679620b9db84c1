"""A verb's decisions and the rows that it read -> the dataset folder: rows, ledger, sources, manifest. One pass, in little memory."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from instil.core.dataset import FATES, LEDGER, MANIFEST, ROWS, Fate, fate_line
from instil.core.engine import Parts, in_one_file
from instil.core.files import write_json, write_text
from instil.core.licences import NONE_DECLARED, obligations_of
from instil.core.run import versions
from instil.core.sources import SourceFacts, attribution, facts_of, facts_record, read_verified
from instil.core.values import Origin
from instil.stages.data_read import source_facts
from instil.stages.data_request import Request

HELD_OUT = "heldout.jsonl"
ATTRIBUTION = "ATTRIBUTION.md"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a verb has decided over the rows that it was given.

    `fates` (`FATE_SCHEMA`) are those that it does not keep; `changed` (position, row) those that it keeps otherwise than they were, each in
    order of position. `order`: positions to write, in this order, one as often as it is named; None: all that are kept, as they came.
    `stages`: beside `order`, the `stage` that each of its rows gets, in place of any that it had.
    `facts` go into the manifest; `files` (name -> lines) and `tables` (name -> a table, for a Parquet file) beside the rows; `notes` are
    said.
    """

    fates: Parts | None = None
    changed: Parts | None = None
    order: Sequence[int] | None = None
    stages: Sequence[int] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Iterator[str]] = field(default_factory=dict)
    tables: Mapping[str, Parts] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tally:
    """Counted while rows go by: all of them by outcome and reason, those kept by licence and task, those kept and absorbed by source."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    absorbed: Counter[str] = field(default_factory=Counter)
    declared: Counter[tuple[str, str]] = field(default_factory=Counter)

    def record(self) -> dict[str, Any]:
        """As JSON: what every verb reports."""
        shown = {name: self.outcomes[name] for name in FATES if self.outcomes[name] or name in ("kept", "refused")}
        return {"rows": sum(self.outcomes.values()), "outcomes": shown, "reasons": dict(self.reasons.most_common())}

    def kept(self) -> dict[str, Any]:
        """As JSON: what a manifest says of the rows that are kept."""
        duties = {duty for licence in self.licences for duty in obligations_of(licence if licence != NONE_DECLARED else None)}
        return {
            "tasks": dict(sorted(self.tasks.items())),
            "licences": dict(self.licences.most_common()),
            "obligations": sorted(duties),
        }


@dataclass(frozen=True, slots=True)
class Judged:
    """One row with its final fate; `text` as it will be written where it is kept or held out."""

    position: int
    fate: Fate
    source: str
    text: str | None


def judged(rows: Parts, decision: Decision, tally: Tally) -> Iterator[Judged]:
    """Every row of the input, in order, with what became of it; counted in `tally` on the way."""
    fates, texts = _Sparse(decision.fates), _Sparse(decision.changed)
    for batch in rows.batches():
        for record in batch.to_pylist():
            position = record["position"]
            verdict, anew = fates.at(position), texts.at(position)
            if record["outcome"] == "kept" and verdict is not None:
                record |= verdict
            text = anew["row"] if anew else record["row"]
            licence = json.loads(text)["lineage"].get("licence") if anew else record["licence"]
            _count(tally, record, licence)
            origin = Origin(record["file"], record["line"], record["part"])
            fate = Fate(origin, record["outcome"], record["id"], record["reason"], record["detail"], record.get("other"))
            yield Judged(position, fate, record["source"], text if record["outcome"] in ("kept", "held out") else None)


def write_folder(folder: Path, rows: Parts, decision: Decision, request: Request) -> tuple[Tally, dict[str, Any]]:
    """Fill `folder`. Returns the counts and the manifest."""
    tally = Tally()
    with ExitStack() as stack:
        ledger, kept = (stack.enter_context(open(folder / name, "w", encoding="utf-8")) for name in (LEDGER, ROWS))
        held: IO[str] | None = None
        places: dict[int, tuple[int, int]] = {}
        staged = stack.enter_context(open(folder / "staged", "wb+")) if decision.order is not None else None
        for one in judged(rows, decision, tally):
            ledger.write(fate_line(one.fate) + "\n")
            if one.fate.outcome == "held out":
                held = held or stack.enter_context(open(folder / HELD_OUT, "w", encoding="utf-8"))
                held.write(f"{one.text}\n")
            elif one.fate.outcome == "kept" and staged is not None:
                encoded = f"{one.text}\n".encode()
                places[one.position] = staged.tell(), len(encoded)
                staged.write(encoded)
            elif one.fate.outcome == "kept":
                kept.write(f"{one.text}\n")
        if staged is not None and decision.order is not None:
            stages: Sequence[int | None] = decision.stages or [None] * len(decision.order)
            for position, stage in zip(decision.order, stages, strict=True):
                start, length = places[position]
                staged.seek(start)
                line = staged.read(length).decode()
                kept.write(line if stage is None else json.dumps(json.loads(line) | {"stage": stage}, ensure_ascii=False) + "\n")
    (folder / "staged").unlink(missing_ok=True)
    for name, lines in decision.files.items():
        with open(folder / name, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    for name, parts in decision.tables.items():
        in_one_file(parts, folder / name)
    table = sources_table(request, tally)
    manifest = manifest_of(request, tally, table, decision)
    write_text(folder / ATTRIBUTION, attribution(table, request.verb))
    write_json(folder / MANIFEST, manifest)
    return tally, manifest


def sources_table(request: Request, tally: Tally) -> list[SourceFacts]:
    """Every source that was met, with its counts in this dataset."""
    verified, known = read_verified(request.knobs.verified), source_facts(request)
    table = []
    for name in sorted({*known, *tally.sources, *tally.absorbed, *(source for source, _ in tally.declared)}):
        facts = facts_of(name, verified, known.get(name))
        declared = {*facts.declared, *(licence for source, licence in tally.declared if source == name and licence)}
        absorbed = facts.absorbed + tally.absorbed[name]
        table.append(replace(facts, rows=tally.sources[name], absorbed=absorbed, declared=tuple(sorted(declared))))
    return table


def manifest_of(request: Request, tally: Tally, table: list[SourceFacts], decision: Decision) -> dict[str, Any]:
    """Everything that a later reader needs to know how the folder came to be."""
    return {
        "verb": request.verb,
        "knobs": request.knobs.model_dump(exclude_defaults=True),
        "seed": request.knobs.seed,
        "inputs": [given.record() for given in request.inputs],
        **tally.record(),
        "written": len(decision.order) if decision.order is not None else tally.outcomes["kept"],
        **tally.kept(),
        "sources": [facts_record(facts) for facts in table],
        **decision.facts,
        "engine": request.running.engine,
        "versions": versions(),
    }


def _count(tally: Tally, record: Mapping[str, Any], licence: str | None) -> None:
    outcome = record["outcome"]
    tally.outcomes[outcome] += 1
    if record["reason"] and outcome != "kept":
        tally.reasons[record["reason"]] += 1
    tally.declared[record["source"], record["declared"] or ""] += 1
    if outcome == "kept":
        tally.sources[record["source"]] += 1
        tally.licences[licence or NONE_DECLARED] += 1
        tally.tasks[record["task"]] += 1
    elif outcome == "duplicate":
        tally.absorbed[record["source"]] += 1


class _Sparse:
    """A table with some of all positions, in order, read alongside the table with all of them."""

    def __init__(self, parts: Parts | None):
        self.records = (record for batch in parts.batches() for record in batch.to_pylist()) if parts else iter(())
        self.waiting = next(self.records, None)

    def at(self, position: int) -> dict[str, Any] | None:
        """The record of this position, None where there is none. Positions must be asked for in rising order."""
        found = None
        while self.waiting is not None and self.waiting["position"] <= position:
            found = self.waiting
            self.waiting = next(self.records, None)
        return found if found is not None and found["position"] == position else None
