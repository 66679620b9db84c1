"""The rows of the next step, laid out while this one is computed."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from instil.batch.trie import Row


class Ahead:
    """`rows_at(step)` for steps that are asked for in order, up to `steps`; a context manager. Rows, and errors, are those of `make(step)`:
    one step more is in a thread's hands, nothing is drawn or kept."""

    def __init__(self, make: Callable[[int], Sequence[Row]], steps: int):
        self._make, self._steps = make, steps
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rows")
        self._coming: tuple[int, Future[Sequence[Row]]] | None = None

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def __call__(self, step: int) -> Sequence[Row]:
        coming, self._coming = self._coming, None
        rows = coming[1].result() if coming is not None and coming[0] == step else self._make(step)
        if step + 1 < self._steps:
            self._coming = step + 1, self._thread.submit(self._make, step + 1)
        return rows
