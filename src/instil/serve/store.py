"""Keys and values of many conversations, and attention over them: one pass reads the next tokens of all of them in one flat row.

Every slot holds one conversation from position 0 on. A pass's row [T] is cut into parts (slot, start, count): long ones are prompts being
read, parts of one token are answers being written. The function is registered in transformers' public attention interface, as for training
(`model.attention`); models hand the keyword argument `reading` down to it. T: tokens of the row, S: slots, C: a slot's capacity in tokens,
H: heads, K: heads of keys and values, D, E: their widths.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_utils import AttentionInterface

from instil.core.errors import UserError
from instil.model.attention import WITHOUT_EFFECT, base_model_of
from instil.model.head import head_of, splits

NAME = "instil_slots"
LEAST = 128
"""A slot's capacity in tokens to begin with; it doubles."""
SPARSE = 2
"""Slots between the first and the last that write are read where they lie, unless there are so many times as many as write."""


@dataclass(frozen=True)
class Part:
    """`count` tokens of the row, which stand at `start` and behind in the conversation of `slot`."""

    slot: int
    start: int
    count: int


class Store:
    """The slots' keys and values, layer by layer, in at most `memory` bytes (None: as many as it takes). All slots have one `capacity` in
    tokens, so it is many slots or long ones: `arrange` changes over. `windows`: how far back each layer sees, None: all the way."""

    def __init__(self, most: int, context: int, memory: float | None = None):
        self.most, self.context, self.memory = most, context, memory
        self.slots, self.capacity = 1, self.room(2)  # for the probe
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        self.windows: dict[int, int | None] = {}
        self.token_bytes = 0

    @property
    def nbytes(self) -> int:
        return sum(t.numel() * t.element_size() for held in (self.keys, self.values) for t in held.values())

    def room(self, need: int) -> int:
        """The capacity that slots get where one holds `need` tokens."""
        room = LEAST
        while room < need:
            room *= 2
        return min(room, max(self.context, need))

    def fitting(self, need: int) -> int:
        """How many slots there can be where one holds `need` tokens."""
        if self.memory is None or not self.token_bytes:
            return self.most
        return min(self.most, int(self.memory // (self.token_bytes * self.room(need))))

    @torch.inference_mode()
    def arrange(self, slots: int, need: int, sources: Sequence[tuple[int, int]]) -> None:
        """`slots` slots with room for `need` tokens; slot i takes over the first tokens of one of now: sources[i] = (slot, tokens)."""
        capacity = self.room(need)
        for held in (self.keys, self.values):
            for index, old in held.items():  # a layer at a time, so the old and the new do not both lie there
                new = old.new_zeros(slots, old.shape[1], capacity, old.shape[3])
                for slot, (source, tokens) in enumerate(sources):
                    new[slot, :, :tokens] = old[source, :, :tokens]
                held[index] = new
        self.slots, self.capacity = slots, capacity

    def clear(self) -> None:
        """Forget everything, also what is half arranged."""
        self.keys.clear()
        self.values.clear()

    def layer(self, index: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """[S, K, C, D] and [S, K, C, E] of a layer."""
        if index not in self.keys:
            self.keys[index] = key.new_zeros(self.slots, key.shape[1], self.capacity, key.shape[3])
            self.values[index] = value.new_zeros(self.slots, value.shape[1], self.capacity, value.shape[3])
        return self.keys[index], self.values[index]

    @torch.inference_mode()
    def copy(self, source: int, target: int, tokens: int) -> None:
        """The first `tokens` of one slot into another."""
        for held in (self.keys, self.values):
            for tensor in held.values():
                tensor[target, :, :tokens] = tensor[source, :, :tokens]


class Reading:
    """One pass: its parts in the order of the row, and what attention needs of them."""

    def __init__(self, store: Store, parts: Sequence[Part], device: torch.device):
        self.store, self.parts = store, parts
        self.need = max(part.start + part.count for part in parts)
        self.slot_T = torch.tensor([part.slot for part in parts for _ in range(part.count)], device=device)
        self.position_T = torch.tensor([part.start + i for part in parts for i in range(part.count)], device=device)
        first, self.long = 0, []
        ones: list[tuple[int, int, int]] = []  # place in the row, slot, length with this token
        for part in parts:
            if part.count == 1:
                ones.append((first, part.slot, part.start + 1))
            else:
                self.long.append((first, part))
            first += part.count
        self.ones = Ones.of(ones, device) if ones else None


@dataclass(frozen=True)
class Ones:
    """The parts of one token. `rows`: their places in the row; `at`: their slots; `low`..`high`: the slots that are read where they lie, or
    None where only those of `at` are; `length_B`: tokens that each sees, by slot of `low`..`high` or of `at`."""

    rows: Tensor
    at: Tensor
    low: int | None
    high: int
    length_B: Tensor
    longest: int

    @classmethod
    def of(cls, ones: list[tuple[int, int, int]], device: torch.device) -> "Ones":
        rows, slots, lengths = (list(column) for column in zip(*ones, strict=True))
        low, high = min(slots), max(slots) + 1
        at = torch.tensor(slots, device=device)
        length_B = torch.tensor(lengths, device=device)
        dense = high - low <= SPARSE * len(slots)
        if dense:  # a slot that does not write sees its first key: nobody looks at what comes of it
            length_B = torch.ones(high - low, dtype=torch.long, device=device).index_put_((at - low,), length_B)
        return cls(torch.tensor(rows, device=device), at, low if dense else None, high, length_B, max(lengths))


@dataclass(frozen=True)
class Sees:
    """What transformers' mask interface tells about a kind of layer: (batch, head, query, key) -> visible."""

    function: Callable[..., Tensor]

    def window(self, context: int, device: torch.device) -> int | None:
        """How many tokens a query far behind sees, its own included; None: all. Raises UserError for what is no causal window."""
        zero = torch.zeros((), dtype=torch.long, device=device)
        last = torch.tensor(context, device=device)

        def sees(key: int) -> bool:
            return bool(self.function(zero, zero, last, torch.tensor(key, device=device)))

        if not sees(context) or sees(context + 1):
            raise UserError("this model's attention is not causal: it cannot be served")
        if sees(0):
            return None
        hidden, seen = 0, context
        while seen - hidden > 1:
            middle = (hidden + seen) // 2
            hidden, seen = (hidden, middle) if sees(middle) else (middle, seen)
        return context - seen + 1


def read_mask(mask_function: Callable[..., Tensor], **_: Any) -> Sees:
    return Sees(mask_function)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Sees | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    reading: Reading | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    is_causal: bool | None = None,
    **unknown: Any,
) -> tuple[Tensor, None]:
    """query [1, H, T, D], key [1, K, T, D], value [1, K, T, E] -> [1, T, H, E]. Raises UserError for what it cannot honour."""
    refused = [name for name, given in unknown.items() if name not in WITHOUT_EFFECT and given is not None and given is not False]
    if reading is None or refused or is_causal is False:
        raise UserError(f"{type(module).__name__} asks its attention for {', '.join(refused) or 'what a server cannot give'}")
    store, layer = reading.store, int(getattr(module, "layer_idx", -1))
    if layer not in store.windows:
        store.windows[layer] = attention_mask.window(store.context, query.device) if attention_mask is not None else sliding_window
    keys, values = store.layer(layer, key, value)
    keys[reading.slot_T, :, reading.position_T] = key[0].transpose(0, 1)
    values[reading.slot_T, :, reading.position_T] = value[0].transpose(0, 1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    how = Scores(scale, softcap, s_aux, store.windows[layer])
    out_THE = query.new_empty(query.shape[2], query.shape[1], value.shape[3])
    if reading.ones is not None:
        out_THE[reading.ones.rows] = _attend_ones(query[0], keys, values, reading.ones, how)
    for first, part in reading.long:
        piece = _attend_long(query[0, :, first : first + part.count], keys, values, part, how)
        out_THE[first : first + part.count] = piece.transpose(0, 1)
    return out_THE[None], None


@dataclass(frozen=True)
class Scores:
    """How scores come about: `softcap` bounds them (Gemma 2), `sinks` [H] take part in the softmax (gpt-oss)."""

    scale: float
    softcap: float | None
    sinks: Tensor | None
    window: int | None


def _attend_ones(query_HTD: Tensor, keys: Tensor, values: Tensor, ones: Ones, how: Scores) -> Tensor:
    """[B, H, E]: one token of each of B slots over all that its slot holds."""
    query_BHD = query_HTD[:, ones.rows].transpose(0, 1)
    if ones.low is None:
        key_BKLD, value_BKLE = keys[ones.at, :, : ones.longest], values[ones.at, :, : ones.longest]
    else:
        key_BKLD, value_BKLE = (held[ones.low : ones.high, :, : ones.longest] for held in (keys, values))
        every = query_BHD.new_zeros(ones.high - ones.low, *query_BHD.shape[1:])
        query_BHD = every.index_copy_(0, ones.at - ones.low, query_BHD)
    place_L = torch.arange(ones.longest, device=query_HTD.device)
    seen_BL = place_L < ones.length_B[:, None]
    if how.window is not None:
        seen_BL &= place_L >= ones.length_B[:, None] - how.window
    out_BHE = _explicit(query_BHD[:, :, None], key_BKLD, value_BKLE, seen_BL[:, None, None], how)[:, :, 0]
    return out_BHE if ones.low is None else out_BHE[ones.at - ones.low]


def _attend_long(query_HCD: Tensor, keys: Tensor, values: Tensor, part: Part, how: Scores) -> Tensor:
    """[H, C, E]: several tokens of one slot over what stands before them and themselves."""
    first = 0 if how.window is None else max(0, part.start - how.window + 1)
    stop = part.start + part.count
    key_KLD, value_KLE = keys[part.slot : part.slot + 1, :, first:stop], values[part.slot : part.slot + 1, :, first:stop]
    place_C, place_L = (torch.arange(start, stop, device=query_HCD.device) for start in (part.start, first))
    seen_CL = place_L <= place_C[:, None]
    if how.window is not None:
        seen_CL &= place_L > place_C[:, None] - how.window
    if how.softcap is not None or how.sinks is not None:
        return _explicit(query_HCD[None], key_KLD, value_KLE, seen_CL, how)[0]
    grouped = query_HCD.shape[0] != keys.shape[1]
    return F.scaled_dot_product_attention(query_HCD[None], key_KLD, value_KLE, seen_CL, scale=how.scale, enable_gqa=grouped)[0]


def _explicit(query_BHCD: Tensor, key_BKLD: Tensor, value_BKLE: Tensor, seen: Tensor, how: Scores) -> Tensor:
    """[B, H, C, E]: attention spelt out, scores and softmax in float32 or better. `seen`: broadcast against [B, H, C, L]."""
    batch, heads, count, _ = query_BHCD.shape
    kv_heads, length = key_BKLD.shape[1:3]
    grouped = query_BHCD.reshape(batch, kv_heads, heads // kv_heads * count, -1)
    logits = torch.matmul(grouped, key_BKLD.transpose(2, 3)).to(torch.promote_types(query_BHCD.dtype, torch.float32))
    logits = logits.view(batch, heads, count, length) * how.scale
    if how.softcap is not None:
        logits = torch.tanh(logits / how.softcap) * how.softcap
    logits = logits.masked_fill(~seen, float("-inf"))
    if how.sinks is not None:
        logits = torch.cat([logits, how.sinks.to(logits.dtype).view(1, -1, 1, 1).expand(batch, -1, count, 1)], -1)
    weights = logits.softmax(-1)[..., :length].to(value_BKLE.dtype).reshape(batch, kv_heads, -1, length)
    return torch.matmul(weights, value_BKLE).view(batch, heads, count, -1)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, read_mask)


class Reader:
    """A model that reads rows into a store. Raises UserError where the architecture does not use transformers' attention interface, attends
    in a way that slots cannot honour, or where not one conversation of `context` tokens fits in `memory` bytes."""

    def __init__(self, model: nn.Module, slots: int, context: int, memory: float | None = None):
        self.model, self.inner = model.eval(), base_model_of(model)
        if not self.inner._can_set_attn_implementation() or getattr(self.inner, "_is_stateful", False):
            raise UserError(f"{type(self.inner).__name__} does not use transformers' attention interface, so `instil serve` cannot run it")
        if (steady := steady_context(self.inner)) is not None and context > steady:
            raise UserError(
                f"{type(self.inner).__name__} turns all positions another way once a conversation is longer than {steady:,} tokens, its "
                f"neighbours in a batch as well: serve it with --context {steady}"
            )
        self.device = self.inner.device
        self.splits, self.head = splits(model), head_of(model)
        self.store = Store(slots, context, memory)
        self.inner.set_attn_implementation(NAME)
        self._probe()
        self.store.token_bytes = self.store.nbytes // self.store.capacity
        if not self.store.fitting(context):
            most = int((memory or 0) // self.store.token_bytes)
            raise UserError(
                f"memory holds {most:,} tokens' keys and values, a conversation may take {context:,}: serve with --context {most}"
            )
        self.store.arrange(self.store.fitting(1), 1, ())

    @property
    def vocabulary(self) -> int:
        return int(self.inner.get_output_embeddings().weight.shape[0])

    def read(self, tokens: Sequence[int], parts: Sequence[Part], rows: Sequence[int]) -> Tensor:
        """Logits [U, V] at the row's places `rows`, after `tokens` [T] of `parts` were read into their slots."""
        reading = Reading(self.store, parts, self.device)
        if reading.need > self.store.capacity:
            self.store.arrange(self.store.slots, reading.need, [(slot, self.store.capacity) for slot in range(self.store.slots)])
        ids_1T = torch.tensor([list(tokens)], device=self.device)
        # The mask of ones says that this is no batch of packed sequences, which transformers would read off the positions.
        inputs = {
            "input_ids": ids_1T,
            "position_ids": reading.position_T[None],
            "attention_mask": torch.ones_like(ids_1T),
            "use_cache": False,
            "reading": reading,
        }
        rows_U = torch.tensor(list(rows), dtype=torch.long, device=self.device)
        with torch.inference_mode():
            if not self.splits:
                return self.inner(**inputs, logits_to_keep=rows_U).logits[0]
            hidden_UD = self.inner.get_decoder()(**inputs)[0][0].index_select(0, rows_U)
            return self.head(hidden_UD) if len(rows_U) else hidden_UD

    def _probe(self) -> None:
        """Two tokens, positions left to the model: now every layer's mask is that of one plain sequence, and its window is read off it."""
        ids_1T = torch.zeros(1, 2, dtype=torch.long, device=self.device)
        reading = Reading(self.store, (Part(0, 0, 2),), self.device)
        with torch.inference_mode():
            self.inner(input_ids=ids_1T, use_cache=False, reading=reading)


def steady_context(model: nn.Module) -> int | None:
    """Tokens up to which a position's angle does not depend on how long the longest sequence of a batch is; None: it never does. Beyond it,
    rotary embeddings of the kinds "dynamic" and "longrope" change for the whole batch."""
    found = []
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        if kinds is None:
            continue
        for layer, kind in kinds.items() if isinstance(kinds, dict) else [(None, kinds)]:
            given = cast(Any, module).config.rope_parameters
            if kind == "longrope":
                found.append(int((given[layer] if layer is not None else given)["original_max_position_embeddings"]))
            elif "dynamic" in kind:
                found.append(int(cast(Any, module).original_max_seq_len))
    return min(found, default=None)
