"""Cards by the names that drivers give them."""

import pytest

from instil.plan.cards import CARDS, card_called


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA GeForce RTX 4090", "4090"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA RTX A6000", "A6000"),
        ("Tesla T4", "T4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
    ],
)
def test_as_a_driver_calls_it(device: str, name: str) -> None:
    assert card_called(device) == CARDS[name]


def test_one_that_is_not_known() -> None:
    assert card_called("NVIDIA GeForce GTX 1080 Ti") is None
