"""Memory that a process's control groups leave it: containers, batch systems and systemd set limits that /proc/meminfo does not know."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

UNLIMITED = 2**60
"""Version 1 writes a huge number where there is no limit."""
PLACES = {"": ("sys/fs/cgroup", "sys/fs/cgroup/unified"), "memory": ("sys/fs/cgroup/memory",)}
"""Where the hierarchy of a controller is mounted; the one without a name is version 2."""
LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")
USED = ("memory.current", "memory.usage_in_bytes")
CACHED = {"inactive_file", "active_file"}, {"total_inactive_file", "total_active_file"}
"""Pages of files count as used, and are given up when memory is wanted: in version 1 with those of inner groups."""


def left_in_groups(root: Path = Path("/")) -> int | None:
    """Bytes that this process's groups still allow, the least of them all the way up; None where there is no limit. `root`: where `proc`
    and `sys` lie.

    Source: the kernel's admin-guide, cgroup-v2 and cgroup-v1/memory.
    """
    found = [left for folder in _groups(root) if (left := _left(folder)) is not None]
    return min(found, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the groups that the process is in, innermost first. A container may see its own group as the top."""
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        for name in {"", "memory"} & set(controllers.split(",")):
            parts = [part for part in path.split("/") if part]
            for base in (root / place for place in PLACES[name]):
                inner = [] if ".." in parts else parts
                yield from (base.joinpath(*inner[:depth]) for depth in range(len(inner), -1, -1))


def _left(folder: Path) -> int | None:
    limits = [int(text) for name in LIMITS if (text := _text(folder / name)) and text.strip().isdigit()]
    used = next((int(text) for name in USED if (text := _text(folder / name))), None)
    if not limits or used is None or min(limits) >= UNLIMITED:
        return None
    return max(0, min(limits) - used + _cached(folder))


def _cached(folder: Path) -> int:
    counts = dict(line.split(" ", 1) for line in (_text(folder / "memory.stat") or "").splitlines() if " " in line)
    names = next((names for names in reversed(CACHED) if names <= counts.keys()), CACHED[0])
    return sum(int(counts.get(name, 0)) for name in names)


def _text(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="ascii")
    return None
