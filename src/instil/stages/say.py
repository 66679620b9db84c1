"""What a run says: few lines, exact, the same in a pipe without colour."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from instil.batch.trie import lay_out
from instil.core.ledger import Counts

if TYPE_CHECKING:  # torch must not be imported for `instil inspect`, which speaks through this module too
    import signal

    from instil.stages.build import Built
    from instil.stages.prepare import Data
    from instil.stages.tune import Outcome


# What a terminal would obey instead of showing: each control character as its picture (U+2400 and on), those beyond ASCII as U+FFFD.
CONTROLS = {c: 0x2400 + c for c in range(32) if chr(c) not in "\n\t"} | {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


def harmless(text: str) -> str:
    """`text`, which may be anybody's, without control characters; as long as before."""
    return text.translate(CONTROLS)


@dataclass(frozen=True)
class Teller:
    """Prints `label  text` lines; silent on every rank but the first."""

    console: Console
    quiet: bool = False

    def line(self, label: str, text: str) -> None:
        if not self.quiet:
            # As Text, for rich makes emoji of `:cat:` in plain strings, and what stands here may quote a row.
            self.console.print(Text.assemble((f"{label:<9} ", "bold"), harmless(text)), soft_wrap=True)

    def say(self, text: str) -> None:
        self.line("", text)

    @contextlib.contextmanager
    def preparing(self) -> Iterator[Callable[[int], None]]:
        """A counter of rows while data is prepared; on a terminal only, and only where it takes a moment."""
        columns = (SpinnerColumn(), TextColumn("preparing"), TextColumn("{task.completed:,} rows"), TimeElapsedColumn())
        if self.quiet or not self.console.is_terminal:
            yield lambda rows: None
            return
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task("", total=None)
            yield lambda rows: progress.update(task, completed=rows)

    def data(self, data: "Data", counts: Counts | None, built: "Built") -> None:
        """Rows, sharing, stop tokens, model: before the first step."""
        if counts is not None:
            trained = counts.outcomes["kept"] + counts.outcomes["shortened"]
            rest = [f"{counts.outcomes[o]:,} {o}" for o in ("held out", "shortened", "duplicate", "not taken") if counts.outcomes[o]]
            refused = f"{counts.outcomes['refused']:,} refused"
            if counts.reasons:
                refused += f" ({', '.join(f'{n:,} {reason}' for reason, n in counts.reasons.most_common(4))})"
            self.line("data", f"{counts.rows:,} rows: {', '.join([f'{trained:,} to train', *rest, refused])}")
        stops = " ".join(data.contract.tokenizer.decode([i]) for i in data.contract.stop_ids)
        ends = (
            "every answer ends in a stop token" if "no_stop" not in data.recipe.allow else "answers may end without a stop token (allowed)"
        )
        self.line("template", f"{data.contract.name} · {ends} · stops: {stops}")
        for note in data.notes:
            self.say(note)
        if data.recipe.allow:
            self.say(f"allowed by the recipe: {', '.join(data.recipe.allow)}")
        self.line("model", built.sentence)
        self.line("probe", built.probe.sentence)
        self.line("sharing", sharing(data, built.probe.mode == "tree"))

    def end(self, outcome: "Outcome", seconds: float, asked: "signal.Signals | None") -> None:
        if not outcome.finished:
            name = asked.name if asked is not None else "a signal"
            self.line("stopped", f"by {name} after step {outcome.steps}; continue with: instil train --resume {outcome.folder}")
            return
        minutes, rest = divmod(round(seconds), 60)
        self.line("done", f"{outcome.steps} steps in {minutes}:{rest:02d}")
        if outcome.base_loss is not None and outcome.loss is not None:
            self.line("held-out", f"loss {outcome.base_loss:.3f} before, {outcome.loss:.3f} after")
        self.line("model", str(outcome.folder / "model"))


def sharing(data: "Data", tree: bool, most: int = 4) -> str:
    """What the first `most` steps compute beside what their rows hold."""
    alone = in_trees = supervised = 0
    for step in range(min(most, data.num_steps())):
        paths = data.paths_at(step)
        rows = lay_out(paths, data.max_tokens, share=tree)
        alone += sum(len(p.tokens) for p in paths)
        in_trees += sum(len(r.tokens_T) for r in rows)
        supervised += sum(len(r.targets_S) for r in rows)
    return f"{alone / in_trees:.2f}x fewer tokens to compute than rows hold; {supervised / in_trees:.0%} of them trained (first steps)"
