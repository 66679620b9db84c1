"""What ranks that divide weights (FSDP2) have to send to each other, and whether that takes longer than what they compute meanwhile."""

from dataclasses import dataclass

from instil.plan.need import Way, flops_per_token
from instil.plan.shape import Shape


@dataclass(frozen=True, kw_only=True)
class Network:
    """GPUs in machines of `node`. Bytes per second and GPU in one direction: `inside` a machine, `between` machines; of both, `share` is
    reached. `hop`: seconds that a message takes from one GPU to the next.

    As stated by makers: an H100's or H200's NVLink 450 GB/s, a network adapter of 400 Gbit/s for each GPU. Share and hop are assumptions.
    """

    node: int = 8
    inside: float = 450e9
    between: float = 50e9
    share: float = 0.7
    hop: float = 15e-6


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One pass (a row on every rank), forward and backward. `sent`: bytes that reach a rank. Seconds: `computing`, `gathering` weights and
    scattering gradients, `adding` gradients of copies up."""

    sent: float
    computing: float
    gathering: float
    adding: float

    @property
    def seconds(self) -> float:
        """Blocks are gathered while those before them are computed, so the longer of both counts; copies are added up at the end."""
        return max(self.computing, self.gathering) + self.adding

    @property
    def efficiency(self) -> float:
        """Share of the time in which ranks compute."""
        return self.computing / self.seconds


def exchange(shape: Shape, way: Way, gpus: int, shards: int, rate: float, network: Network) -> Exchange:
    """`rate`: FLOP/s that a GPU reaches. Weights are gathered in the way's precision, forward and again backward; gradients of what is
    trained are scattered in float32. Groups of `shards` GPUs hold copies, whose gradients are added up once."""
    size = 2 if way.precision == "bf16" else 4
    trained = shape.parameters if way.method == "full" else shape.lora(way.rank)
    parts = shape.layers + 1  # the blocks, and embeddings with the head
    gathered, scattered = size * shape.parameters, 4.0 * trained
    gathering = 2 * _ring(gathered, parts, shards, network) + _ring(scattered, parts, shards, network)
    copies = gpus // shards
    adding = 2 * _ring(scattered / shards, 1, copies, network, apart=True)
    sent = (2 * gathered + scattered) * (shards - 1) / shards + 2 * scattered / shards * (copies - 1) / copies
    computing = way.tokens * flops_per_token(shape, way) / rate
    return Exchange(sent=sent, computing=computing, gathering=gathering, adding=adding)


def _ring(size: float, parts: int, ranks: int, network: Network, apart: bool = False) -> float:
    """Seconds in which every one of `ranks` has received `size` bytes, in so many parts, over a ring; where it spans machines, all adapters
    of a machine carry it together. `apart`: one GPU of each machine takes part."""
    if ranks == 1:
        return 0.0
    width = 1 if apart else network.node
    speed = network.inside if ranks <= network.node and not apart else min(network.inside, width * network.between)
    return size * (ranks - 1) / ranks / (speed * network.share) + parts * (ranks - 1) * network.hop
