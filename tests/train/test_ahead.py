"""Rows made ahead are the rows, in any order and however making them ends."""

import threading

import pytest

from instil.core.errors import UserError
from instil.train.ahead import Ahead
from tests.train.small import rows_of


def test_the_same_rows_each_made_once() -> None:
    made: list[int] = []

    def make(step: int) -> list[str]:
        made.append(step)
        return [f"row {step}"]

    with Ahead(make, 5) as rows_at:  # type: ignore[arg-type]
        assert [rows_at(step) for step in range(2, 5)] == [["row 2"], ["row 3"], ["row 4"]]
    assert made == [2, 3, 4], "nothing beyond the last step"


def test_the_next_step_is_made_in_another_thread_meanwhile() -> None:
    begun, threads = threading.Event(), list[int]()

    def make(step: int) -> list[str]:
        threads.append(threading.get_ident())
        begun.set() if step == 1 else None
        return []

    with Ahead(make, 2) as rows_at:  # type: ignore[arg-type]
        rows_at(0)
        assert begun.wait(10)
        rows_at(1)
    assert threads[0] == threading.get_ident() != threads[1]


def test_steps_out_of_order() -> None:
    with Ahead(lambda step: [step], 9) as rows_at:  # type: ignore[arg-type, list-item]
        assert [rows_at(step) for step in (0, 5, 1, 2)] == [[0], [5], [1], [2]]


def test_an_error_comes_with_its_step() -> None:
    def make(step: int) -> list[str]:
        if step == 1:
            raise UserError("an example does not fit")
        return []

    with Ahead(make, 3) as rows_at:  # type: ignore[arg-type]
        rows_at(0)
        with pytest.raises(UserError, match=r"^an example does not fit$"):
            rows_at(1)


def test_real_rows() -> None:
    with Ahead(rows_of(45), 3) as rows_at:
        for step in range(3):
            ours, plain = rows_at(step), rows_of(45)(step)
            assert [row.tokens_T.tolist() for row in ours] == [row.tokens_T.tolist() for row in plain]
