"""Graphics cards: memory, dense bf16 rate and link, as their makers state them."""

from dataclasses import dataclass

from instil.core.errors import UserError, nearest


@dataclass(frozen=True)
class Card:
    """`memory` in GiB, `rate` in TFLOP/s of dense bf16 products with float32 sums, `link` to the other cards of a machine in GB/s, in one
    direction."""

    memory: float
    rate: float
    link: float


PCIE_3, PCIE_4, PCIE_5 = 15.8, 31.5, 63.0
"""GB/s of 16 lanes in one direction: 8, 16 and 32 billion transfers a second and lane, 128 bits of 130 (PCI-SIG's specifications)."""


CARDS = {
    "B200": Card(179, 2250, 900),
    "H200": Card(131, 989, 450),
    "H100": Card(79, 989, 450),
    "A100": Card(79, 312, 300),
    "A100-40": Card(39, 312, 300),
    "L40S": Card(44, 362, PCIE_4),
    "A6000": Card(47, 155, PCIE_4),
    "A10": Card(22, 125, PCIE_4),
    "L4": Card(22, 121, PCIE_4),
    "5090": Card(31, 210, PCIE_5),
    "4090": Card(23.5, 165, PCIE_4),
    "3090": Card(23.5, 71, PCIE_4),
    "4070": Card(11.5, 58, PCIE_4),
    "3060": Card(11.5, 25.5, PCIE_4),
    "4060": Card(7.5, 30, PCIE_4 / 2),
    "T4": Card(14.5, 65, PCIE_3),
}
"""Memory is what programs find free of it: about a GiB less than is printed on the box, where that is in GB. The rate of a GeForce card is
its multiprocessors x 512 x its boost clock, which is NVIDIA's figure for the 3090 and the 4090, too; a 3060 is the one of 12 GB.

Links by NVIDIA's data sheets, which add both directions up: NVLink 1,800 (B200), 900 (H200, H100), 600 GB/s (A100), each on the SXM board;
the others PCIe, "64 GB/s" for generation 4, the 4060 with 8 lanes, the T4 of generation 3. The bridge that joins two A6000 or 3090 is not
counted. GeForce cards since the 4000s pass through the machine's memory on their way to each other, and may reach less."""

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


def card_called(device: str) -> Card | None:
    """The one that a driver calls so, such as `NVIDIA GeForce RTX 4090`."""
    return next((found for name, found in CARDS.items() if name in device.replace("-", " ").split()), None)
