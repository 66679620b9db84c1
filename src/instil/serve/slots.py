"""Which conversation lies in which slot of the store, which slots are free, and what a new conversation can take over from those there."""

from collections.abc import Sequence

from instil.serve.store import Store


class Slots:
    """`holds`: the tokens whose keys and values lie in each slot; `free`: slots that nobody uses, the first was used longest ago. What lies
    in a free slot stays until the slot is needed."""

    def __init__(self, store: Store):
        self.store = store
        self.holds: list[list[int]] = [[] for _ in range(store.slots)]
        self.free = dict.fromkeys(range(store.slots))

    def take(self, tokens: list[int], most: int) -> tuple[int, int]:
        """A free slot, and how many of `tokens` it holds by now: at most `most`."""
        common = {slot: min(common_length(held, tokens), most) for slot, held in enumerate(self.holds)}
        best = max(common, key=lambda slot: (common[slot], slot in self.free))
        shared = common[best]
        # A slot that holds much else which another turn may go on from is copied from, not overwritten.
        takes = shared and best in self.free and shared >= len(self.holds[best]) // 2
        slot = best if takes else min(self.free, key=lambda free: bool(self.holds[free]))
        if shared and slot != best:
            self.store.copy(best, slot, shared)
        del self.free[slot]
        self.holds[slot] = tokens[:shared]
        return slot, shared

    def give(self, slot: int) -> None:
        self.free[slot] = None

    def arrange(self, used: Sequence[int], need: int) -> None:
        """As many slots as memory allows with room for `need` tokens each: what lies in `used` moves to the first, in that order; behind it
        what was used last, as far as it fits. The others are free."""
        count, room = self.store.fitting(need), self.store.room(need)
        idle = [slot for slot in reversed(self.free) if self.holds[slot]][: count - len(used)]
        kept = [*used, *reversed(idle)]
        holds = [self.holds[slot][:room] for slot in kept]
        self.store.arrange(count, need, [(slot, len(held)) for slot, held in zip(kept, holds, strict=True)])
        self.holds = holds + [[] for _ in range(count - len(holds))]
        self.free = dict.fromkeys(range(len(used), count))

    def forget(self) -> None:
        """What lies in the slots is not trusted any more."""
        self.holds = [[] for _ in self.holds]
        self.store.clear()


def common_length(one: Sequence[int], two: Sequence[int]) -> int:
    """Length of the longest common beginning. Slices compare far faster than a loop over tokens."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == two[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
