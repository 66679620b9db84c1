"""What a slot can take over from another is the longest common beginning."""

from hypothesis import given
from hypothesis import strategies as st

from instil.serve.slots import Slots, common_length
from instil.serve.store import Store

TOKENS = st.lists(st.integers(0, 2), max_size=12)


@given(TOKENS, TOKENS, TOKENS)
def test_the_common_length_is_that_of_the_naive_loop(same: list[int], one: list[int], two: list[int]) -> None:
    one, two = same + one, same + two
    expected = 0
    while expected < min(len(one), len(two)) and one[expected] == two[expected]:
        expected += 1
    assert common_length(one, two) == expected


def test_a_slot_is_gone_on_with_or_copied_from() -> None:
    store = Store(4, 64)
    store.slots = 4
    slots = Slots(store)
    talk = list(range(10))
    assert slots.take(talk, 9) == (0, 0)
    slots.holds[0] = talk
    assert slots.take([*talk, 11], 10) == (1, 10)  # in use: copied from
    slots.give(0)
    assert slots.take([*talk, 12], 10) == (0, 10)  # free: gone on with
    slots.give(1)
    slots.holds[1] = [*talk, *range(100, 130)]
    assert slots.take([*talk, 13], 10) == (2, 10)  # it holds much else, which stays
    assert slots.holds[1] == [*talk, *range(100, 130)]


def test_what_was_used_longest_ago_is_overwritten_first() -> None:
    store = Store(2, 64)
    store.slots = 2
    slots = Slots(store)
    for slot in (1, 0):
        slots.holds[slot] = [slot] * 5
        del slots.free[slot]
        slots.give(slot)
    assert slots.take([7, 7], 1) == (1, 0)
    assert slots.holds[0] == [0] * 5
