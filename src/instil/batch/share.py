"""A step divided among ranks: rows of nearly equal cost, as many for each rank as for the others, if the step holds enough examples."""

from collections.abc import Sequence

from instil.batch.trie import Row, lay_out
from instil.core.values import Path

PAIRS_PER_TOKEN = 6 * 2048
"""Pairs of query and key that cost as much as one token's linear layers: a pair takes 4 operations per unit of width, a token's layers 24
per unit of width squared; for a width of 2,048. Attention is a tenth of the work at 2,500 tokens then."""


def lay_out_shared(paths: Sequence[Path], max_tokens: int, ranks: int, average: str = "token", share: bool = True) -> list[Row]:
    """`batch.trie.lay_out` for `ranks` ranks: as many rows as its rows rounded up to a multiple of `ranks`, the longest of them as short as
    filling them in order allows. One rank: its very rows.

    Examples are never divided, so a step of few or very unequal examples leaves some ranks with less to do, or nothing.
    """
    rows = lay_out(paths, max_tokens, average, share)
    if ranks == 1 or not share:
        return rows
    most = -(-len(rows) // ranks) * ranks
    low, high = max(len(path.tokens) for path in paths), max(len(row.tokens_T) for row in rows)
    while low < high:
        middle = (low + high) // 2
        tried = lay_out(paths, middle, average)
        if len(tried) <= most:
            rows, high = tried, middle
        else:
            low = middle + 1
    return rows


def deal(rows: Sequence[Row], ranks: int) -> list[list[int]]:
    """Indices of the rows that each rank computes, in order. Dealt from the dearest to the cheapest, there and back, so that no rank has
    two rows more than another and all have about the same to do."""
    dearest = sorted(range(len(rows)), key=lambda index: (-cost(rows[index]), index))
    hands: list[list[int]] = [[] for _ in range(ranks)]
    for place, index in enumerate(dearest):
        turn, seat = divmod(place, ranks)
        hands[seat if turn % 2 == 0 else ranks - 1 - seat].append(index)
    return [sorted(hand) for hand in hands]


def cost(row: Row) -> float:
    """What a row costs, in tokens of short examples."""
    return len(row.tokens_T) + float((row.positions_T + 1).sum()) / PAIRS_PER_TOKEN
