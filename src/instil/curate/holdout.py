"""What is never trained, and what must go because it is too near to that.

Held out are whole tasks, whole clusters of tasks, all rows of an upstream dataset, and rows drawn by a hash of their prompt; all rows of
one prompt stand on one side. Then the line is cleared: a row left to train that nearly equals a held-out one is purged. How near is for
the caller to say, who passes in the pairs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from instil.core.amounts import parse_amount
from instil.core.errors import UserError, nearest
from instil.core.files import hash_text

Near = Callable[[np.ndarray, np.ndarray], Iterable[tuple[int, int]]]
"""(rows held out, rows to train) -> near pairs (held out, to train)."""


@dataclass(frozen=True, slots=True)
class HoldOut:
    """The knobs. `rows`: further rows, `'200 rows'` or `'2%'` of all, drawn by the seed; None draws none."""

    rows: str | None = None
    tasks: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sides:
    """Per row why it is held out (None: it is not), and the rows purged, each with the held-out row that it is near to."""

    held: tuple[str | None, ...]
    purged: Mapping[int, int] = field(default_factory=dict)

    @property
    def trained(self) -> np.ndarray:
        """Indices of the rows left to train, int64."""
        return np.array([row for row, why in enumerate(self.held) if why is None and row not in self.purged], np.int64)


def hold_out(
    prompts: np.ndarray,
    tasks: Sequence[str | None],
    upstreams: Sequence[str | None],
    knobs: HoldOut,
    clusters: Mapping[str, str],
    seed: int,
    near: Near | None = None,
    shown: np.ndarray | None = None,
) -> Sides:
    """The two sides of N rows.

    `prompts` uint64 [N]: rows with equal numbers ask the same. `tasks`, `upstreams` [N]: labels, None where there is none. `clusters`:
    task -> its cluster. `near` is asked once, about all rows of both sides. `shown` bool [N]: rows that others hold as worked examples;
    prompts of theirs are not drawn by `rows`.

    Raises UserError for a task, cluster or upstream dataset that no row has, and where nothing would be left to train.
    """
    labels = {"task": list(tasks), "cluster": [clusters.get(t) if t else None for t in tasks], "upstream": list(upstreams)}
    held: list[str | None] = [None] * len(prompts)
    for kind, wanted in (("task", knobs.tasks), ("cluster", knobs.clusters), ("upstream", knobs.upstreams)):
        known = {label for label in labels[kind] if label}
        for name in wanted:
            if name not in known:
                raise UserError(f"cannot hold out {kind} '{name}': no row has it; {nearest(name, known)}")
        held = [why or (f"{kind} {label}" if label in wanted else None) for why, label in zip(held, labels[kind], strict=True)]
    held = _with_equal_prompts(held, prompts)
    if knobs.rows:
        free = np.array([why is None for why in held], bool)
        if shown is not None:
            free &= ~np.isin(prompts, prompts[shown & free])
        drawn = _drawn(prompts, free.tolist(), knobs.rows, seed)
        held = [why or ("row" if row else None) for why, row in zip(held, drawn, strict=True)]
    purged = _purged(held, near) if near else {}
    sides = Sides(tuple(held), purged)
    if len(prompts) and not len(sides.trained):
        raise UserError(f"the hold-out leaves none of {len(prompts):,} rows to train: hold out less, or add data")
    return sides


def _with_equal_prompts(held: list[str | None], prompts: np.ndarray) -> list[str | None]:
    asked = {int(prompt) for prompt, why in zip(prompts, held, strict=True) if why}
    return [why or ("prompt of a held-out row" if int(prompt) in asked else None) for prompt, why in zip(prompts, held, strict=True)]


def _drawn(prompts: np.ndarray, free: list[bool], amount: str, seed: int) -> np.ndarray:
    """bool [N]: free rows of prompts in the order of a salted hash, prompts that no longer fit passed over; at most the amount."""
    number, unit = parse_amount(amount)
    if unit == "tokens":
        raise UserError(f"holds out '{amount}': write it in rows, as '200 rows' or '2%'")
    wanted = int(number * len(prompts) + 0.5) if unit == "%" else int(number)
    sizes: dict[int, int] = {}
    for prompt, is_free in zip(prompts.tolist(), free, strict=True):
        if is_free:
            sizes[prompt] = sizes.get(prompt, 0) + 1
    chosen = set()
    for prompt in sorted(sizes, key=lambda p: (hash_text("hold out", str(seed), str(p)), p)):
        if sizes[prompt] <= wanted:
            chosen.add(prompt)
            wanted -= sizes[prompt]
    return np.array([is_free and p in chosen for p, is_free in zip(prompts.tolist(), free, strict=True)], bool)


def _purged(held: Sequence[str | None], near: Near) -> dict[int, int]:
    """Row to train -> the first held-out row that it is near to."""
    out = np.array([row for row, why in enumerate(held) if why is not None], np.int64)
    train = np.array([row for row, why in enumerate(held) if why is None], np.int64)
    purged: dict[int, int] = {}
    for left, right in near(out, train):
        assert held[left] is not None and held[right] is None, f"the pair ({left}, {right}) does not cross the line"
        purged[right] = min(left, purged.get(right, left))
    return dict(sorted(purged.items()))
