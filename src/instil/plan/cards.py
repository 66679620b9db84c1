"""Graphics cards: memory and dense bf16 rate, as their makers state them."""

from dataclasses import dataclass

from instil.core.errors import UserError, nearest


@dataclass(frozen=True)
class Card:
    """`memory` in GiB, `rate` in TFLOP/s of dense bf16 products with float32 sums."""

    memory: float
    rate: float


CARDS = {
    "B200": Card(179, 2250),
    "H200": Card(131, 989),
    "H100": Card(79, 989),
    "A100": Card(79, 312),
    "A100-40": Card(39, 312),
    "L40S": Card(44, 362),
    "A6000": Card(47, 155),
    "5090": Card(31, 210),
    "4090": Card(23.5, 165),
    "3090": Card(23.5, 71),
    "4070": Card(11.5, 58),
    "3060": Card(11.5, 25.5),
    "4060": Card(7.5, 30),
    "T4": Card(14.5, 65),
}
"""Memory is what programs find free of it: about a GiB less than is printed on the box, where that is in GB. The rate of a GeForce card is
its multiprocessors x 512 x its boost clock, which is NVIDIA's figure for the 3090 and the 4090, too; a 3060 is the one of 12 GB."""

UTILISATION = (0.25, 0.5)
"""Of a card's rate, in training with nothing recomputed: published figures of TRL, Unsloth, NeMo and torchtune for 7-8B on one card lie
between 0.23 and 0.6. instil's own have not been measured."""
UTILISATION_CPU = (0.4, 0.65)
"""Of a CPU's measured matrix rate: 0.56 for 25M parameters on Alpaca rows, `benchmarks/results/sft_cpu.json`."""


def card(name: str) -> Card:
    """Raises UserError for one that is not known."""
    if name not in CARDS:
        raise UserError(f"--gpu {name}: no such card; {nearest(name, CARDS)}")
    return CARDS[name]
