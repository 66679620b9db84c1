"""AdamW that holds less: states in eight bits, weights in bf16, states in the machine's memory instead of the GPU's; each alone or
together.

Every update is computed in float32 by torch's fused AdamW or bitsandbytes' 8-bit kernel, a slice of a parameter at a time: copies in
float32, and states that were fetched, exist for one slice only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from instil.core.errors import UserError
from instil.train.rounding import round_randomly, source_of

SLICE = {"cpu": 2**18, "cuda": 2**22}
"""Elements updated at once: on a CPU what its cache holds (2**22 rounds six times slower), on a GPU 64 MiB of weights, gradients and
states."""
BLOCK = 256
"""Elements that share a scale of an 8-bit state; slices hold whole blocks."""
LEAST = 4096
"""Parameters with fewer elements keep their states in float32: they are the norms, and weigh nothing."""
SCALE = "_scale"
"""Ends the name of a state's scales."""

Group = dict[str, Any]
Kernel = Callable[[Tensor, Tensor, dict[str, Tensor], Group, int], None]
"""Updates float32 weights [N] and their states, in place, by gradients [N], in a parameter's step number `step` (from 1)."""


@dataclass(frozen=True)
class Elsewhere:
    """Memory that states lie in between updates: `keep` moves a tensor there, `fetch` back; `wait` returns when all moves are done."""

    keep: Callable[[Tensor], Tensor]
    fetch: Callable[[Tensor], Tensor]
    wait: Callable[[], None]


def host_of(device: torch.device) -> Elsewhere:
    """The machine's memory, pinned, so that copies from and to the GPU `device` run at full speed and in the order of its work."""
    return Elsewhere(
        keep=lambda tensor: tensor.cpu().pin_memory(),
        fetch=lambda tensor: tensor.to(device, non_blocking=True),
        wait=lambda: torch.cuda.synchronize(device),
    )


class LeanAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov & Hutter 2019). Parameters in bf16 are rounded stochastically, by bits that are a function of (`seed`, step, place
    of the parameter); `eight_bits`: states are quantized in blocks (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization").
    """

    def __init__(
        self,
        groups: list[Group],
        *,
        lr: float,
        betas: tuple[float, float],
        eight_bits: bool = False,
        elsewhere: Elsewhere | None = None,
        seed: int = 0,
    ):
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": 1e-8, "weight_decay": 0.0})
        self.quantized, self.elsewhere, self.seed = eight_bit_kernel() if eight_bits else None, elsewhere, seed

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        parameters = [(group, parameter) for group in self.param_groups for parameter in group["params"]]
        for place, (group, parameter) in enumerate(parameters):
            if parameter.grad is not None:
                self._update(place, group, parameter)
        if self.elsewhere:
            self.elsewhere.wait()

    def keep(self, tensor: Tensor, parameter: Tensor) -> Tensor:
        """`tensor`, a state of `parameter`, where states lie between updates."""
        if tensor.ndim == 0:  # its number of steps, which is read before every update
            return tensor.cpu()
        return self.elsewhere.keep(tensor) if self.elsewhere else tensor.to(parameter.device)

    def _update(self, place: int, group: Group, parameter: Tensor) -> None:
        state = self.state[parameter]
        if not state:
            device = torch.device("cpu") if self.elsewhere else parameter.device
            found = empty_states(parameter, self.quantized is not None, device)
            state.update({name: self.keep(tensor, parameter) for name, tensor in found.items()})
        state["step"] += 1
        step, size = int(state["step"]), SLICE[parameter.device.type]
        kernel = self.quantized if self.quantized and f"exp_avg{SCALE}" in state else update_exactly
        source = source_of(parameter.device, self.seed, step, place) if parameter.dtype == torch.bfloat16 else None
        assert parameter.grad is not None
        weights_N, gradients_N = parameter.view(-1), parameter.grad.reshape(-1)
        for start in range(0, len(weights_N), size):
            part = slice(start, start + size)
            kept = states_of_slice(state, part)
            states = {name: self.elsewhere.fetch(tensor) for name, tensor in kept.items()} if self.elsewhere else kept
            _update_slice(kernel, weights_N[part], gradients_N[part], states, group, step, source)
            if self.elsewhere:
                for name, tensor in kept.items():
                    tensor.copy_(states[name], non_blocking=True)


def place_state(optimizer: torch.optim.Optimizer, tensor: Tensor, parameter: Tensor) -> Tensor:
    """A state that was read from a checkpoint, where `optimizer` keeps it."""
    return optimizer.keep(tensor, parameter) if isinstance(optimizer, LeanAdamW) else tensor.to(parameter.device)


def empty_states(parameter: Tensor, eight_bits: bool, device: torch.device) -> dict[str, Tensor]:
    """Both moments, zero, in `parameter`'s shape: in float32, or as codes with a scale per block; and the number of its steps."""
    states = {"step": torch.zeros(())}
    for name in ("exp_avg", "exp_avg_sq"):
        if eight_bits and parameter.numel() >= LEAST:
            states[name] = torch.zeros(parameter.shape, dtype=torch.uint8, device=device)
            states[name + SCALE] = torch.zeros(-(-parameter.numel() // BLOCK), device=device)
        else:
            states[name] = torch.zeros(parameter.shape, dtype=torch.promote_types(parameter.dtype, torch.float32), device=device)
    return states


def states_of_slice(state: dict[str, Tensor], part: slice) -> dict[str, Tensor]:
    """Views of what belongs to elements `part`, which begins with a block."""
    blocks = slice(part.start // BLOCK, -(-part.stop // BLOCK))
    return {name: tensor.view(-1)[blocks if name.endswith(SCALE) else part] for name, tensor in state.items() if name != "step"}


def _update_slice(
    kernel: Kernel,
    weights_N: Tensor,
    gradients_N: Tensor,
    states: dict[str, Tensor],
    group: Group,
    step: int,
    source: torch.Generator | None,
) -> None:
    if source is None:
        kernel(weights_N, gradients_N, states, group, step)
        return
    exact_N = weights_N.float()
    kernel(exact_N, gradients_N.float(), states, group, step)
    weights_N.copy_(round_randomly(exact_N, source))


def update_exactly(weights_N: Tensor, gradients_N: Tensor, states: dict[str, Tensor], group: Group, step: int) -> None:
    """torch's fused AdamW."""
    beta1, beta2 = group["betas"]
    adamw(
        [weights_N],
        [gradients_N],
        [states["exp_avg"]],
        [states["exp_avg_sq"]],
        [],
        [torch.full((), step - 1.0, device=weights_N.device)],  # it counts for itself
        fused=True,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )


def eight_bit_kernel() -> Kernel:
    """bitsandbytes' update of 8-bit states, which runs on GPUs and CPUs. Raises UserError where it is not installed."""
    try:
        from bitsandbytes import functional
    except ImportError:
        raise UserError("train.optimizer: adamw_8bit needs bitsandbytes: pip install 'instil[qlora]', or set adamw") from None
    codes = {signed: functional.create_dynamic_map(signed=signed) for signed in (True, False)}

    def update(weights_N: Tensor, gradients_N: Tensor, states: dict[str, Tensor], group: Group, step: int) -> None:
        beta1, beta2 = group["betas"]
        for signed, code in codes.items():
            codes[signed] = code.to(weights_N.device)
        functional.optimizer_update_8bit_blockwise(
            "adam",
            g=gradients_N,
            p=weights_N,
            state1=states["exp_avg"],
            state2=states["exp_avg_sq"],
            beta1=beta1,
            beta2=beta2,
            beta3=0.0,
            alpha=0.0,
            eps=group["eps"],
            step=step,
            lr=group["lr"],
            qmap1=codes[True],
            qmap2=codes[False],
            absmax1=states["exp_avg" + SCALE],
            absmax2=states["exp_avg_sq" + SCALE],
            weight_decay=group["weight_decay"],
        )

    return update
