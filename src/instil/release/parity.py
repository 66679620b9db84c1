"""What was checked of an export, and whether it passed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One question asked of an export. `detail`: what was found, with its figure."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Parity:
    """All that was asked of an export to `target`; it passed if every check did."""

    target: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)
