"""What ranks have to send to each other (weights and gradients where they divide them, as FSDP2 does, else gradients), and whether that
takes longer than what they compute meanwhile."""

from dataclasses import dataclass

from instil.plan.cards import PCIE_5, Card
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


def network_of(card: Card) -> Network:
    """Machines of eight such cards. With NVLink each has an adapter of its own, as in NVIDIA's machines; without, all share one."""
    adapter = Network.between
    return Network(inside=card.link * 1e9, between=adapter if card.link > PCIE_5 else adapter / Network.node)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Passes (a row on every rank), forward and backward. `sent`: bytes that reach a rank. Seconds: `computing`, `gathering` weights and
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


def exchange(shape: Shape, way: Way, gpus: int, shards: int, rate: float, network: Network, passes: float = 1.0) -> Exchange:
    """`passes` of `way.tokens` tokens on each GPU, which are a step. `rate`: FLOP/s that a GPU reaches.

    Where weights are divided, over `shards` GPUs, every pass gathers them in the way's precision, forward and again backward, and scatters
    gradients of what is trained in float32; groups of so many GPUs hold copies, whose gradients are added up. With one shard every GPU
    holds a copy, and gradients are added up once a step, in the precision of the weights.
    """
    size = 2 if way.precision == "bf16" else 4
    trained = shape.parameters if way.method == "full" else shape.lora(way.rank)
    parts = shape.layers + 1  # the blocks, and embeddings with the head
    gathered, scattered = size * shape.parameters, (2.0 if way.weights == "bf16" else 4.0) * trained
    gathering = 2 * _ring(gathered, parts, shards, network) + _ring(scattered, parts, shards, network)
    copies = gpus // shards
    adding = 2 * _ring(scattered / shards, 1, copies, network, apart=shards)
    times = passes if shards > 1 else 1
    added = 2 * scattered / shards * (copies - 1) / copies
    return Exchange(
        sent=passes * (2 * gathered + scattered) * (shards - 1) / shards + times * added,
        computing=passes * way.tokens * flops_per_token(shape, way) / rate,
        gathering=passes * gathering,
        adding=times * adding,
    )


def _ring(size: float, parts: int, ranks: int, network: Network, apart: int = 1) -> float:
    """Seconds in which every one of `ranks` has received `size` bytes, in so many parts, over a ring of GPUs that stand `apart`; where it
    spans machines, all adapters carry it that belong to its GPUs of a machine."""
    if ranks == 1:
        return 0.0
    adapters = max(1, network.node // apart)
    speed = network.inside if ranks * apart <= network.node else min(network.inside, adapters * network.between)
    return size * (ranks - 1) / ranks / (speed * network.share) + parts * (ranks - 1) * network.hop
