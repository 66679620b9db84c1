"""Rows that mix prompts and answers of several slots give the logits that each conversation has alone."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from instil.core.errors import UserError
from instil.serve.store import Part, Reader
from tests.model.tiny import ARCHITECTURES, VOCABULARY, Float64, build

CONTEXT = 40
PASSES = (
    # (slot, tokens): prompts of different lengths, in pieces, answers between them, a slot far behind the others
    ((0, 11), (2, 5)),
    ((0, 1), (2, 9), (1, 1)),
    ((0, 1), (1, 14), (2, 1)),
    ((2, 1), (0, 1), (1, 1), (7, 3)),
    ((7, 1), (0, 1)),
    ((0, 2), (1, 1), (2, 1), (7, 1)),
)


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with Float64():
        yield


def naive(model: torch.nn.Module, tokens: list[int]) -> torch.Tensor:
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return model(torch.tensor([tokens]), use_cache=False).logits[0]


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_pass_gives_what_each_conversation_gives_alone(kind: str) -> None:
    random = np.random.default_rng(0)
    model, alone = build(kind), build(kind)
    reader = Reader(model, 8, CONTEXT)
    held: dict[int, list[int]] = {slot: [] for slot in range(8)}
    found = []
    for parts in PASSES:
        tokens, made = [], []
        for slot, count in parts:
            new = random.integers(3, VOCABULARY, count).tolist()
            made.append(Part(slot, len(held[slot]), count))
            held[slot] += new
            tokens += new
        found.append((made, reader.read(tokens, made, range(len(tokens)))))
    expected = {slot: naive(alone, tokens) for slot, tokens in held.items() if tokens}
    for made, logits_TV in found:
        first = 0
        for part in made:
            right = expected[part.slot][part.start : part.start + part.count]
            torch.testing.assert_close(logits_TV[first : first + part.count], right, rtol=0, atol=1e-9)
            first += part.count


def test_a_copied_beginning_goes_on_as_the_conversation_that_it_came_from() -> None:
    random = np.random.default_rng(1)
    tokens = random.integers(3, VOCABULARY, 20).tolist()
    model = build("qwen3")
    reader = Reader(model, 4, CONTEXT)
    reader.read(tokens[:15], [Part(0, 0, 15)], [14])
    reader.store.copy(0, 3, 9)
    other = tokens[:9] + random.integers(3, VOCABULARY, 6).tolist()
    found = reader.read(other[9:], [Part(3, 9, 6)], [5])
    torch.testing.assert_close(found[0], naive(build("qwen3"), other)[-1], rtol=0, atol=1e-9)


def test_slots_grow_without_losing_what_they_hold() -> None:
    random = np.random.default_rng(2)
    tokens = random.integers(3, VOCABULARY, 300).tolist()
    reader = Reader(build("llama", max_position_embeddings=512), 2, 512)
    before = reader.store.nbytes
    for start in range(0, 300, 50):
        found = reader.read(tokens[start : start + 50], [Part(1, start, 50)], [49])
    assert reader.store.nbytes == before * 4
    torch.testing.assert_close(found[0], naive(build("llama", max_position_embeddings=512), tokens)[-1], rtol=0, atol=1e-9)


def test_windows_are_read_off_the_model() -> None:
    assert set(Reader(build("gemma2"), 1, CONTEXT).store.windows.values()) == {7, None}
    assert set(Reader(build("llama"), 1, CONTEXT).store.windows.values()) == {None}


def test_a_model_without_the_attention_interface_is_refused() -> None:
    with pytest.raises(UserError, match="attention interface"):
        Reader(build("bloom", n_head=4, hidden_size=32), 1, CONTEXT)


LENGTH_DEPENDENT = {
    "dynamic": ({"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}, 16),
    "longrope": (
        {
            "rope_type": "longrope",
            "short_factor": [1.0] * 4,
            "long_factor": [4.0] * 4,
            "rope_theta": 10000.0,
            "original_max_position_embeddings": 16,
            "factor": 4.0,
        },
        64,
    ),
}


@pytest.mark.parametrize("kind", LENGTH_DEPENDENT)
def test_angles_that_depend_on_a_neighbours_length_are_refused(kind: str) -> None:
    rope, longest = LENGTH_DEPENDENT[kind]

    def made() -> torch.nn.Module:
        return build("llama", rope_parameters=dict(rope), max_position_embeddings=longest)

    with pytest.raises(UserError, match="--context 16"):
        Reader(made(), 2, 17)
    tokens = np.random.default_rng(3).integers(3, VOCABULARY, (2, 16)).tolist()
    found = Reader(made(), 2, 16).read([*tokens[0], *tokens[1][:5]], [Part(0, 0, 16), Part(1, 0, 5)], [15, 20])
    torch.testing.assert_close(found[0], naive(made(), tokens[0])[-1], rtol=0, atol=1e-9)
    torch.testing.assert_close(found[1], naive(made(), tokens[1][:5])[-1], rtol=0, atol=1e-9)


def test_arranging_slots_anew_keeps_what_is_named_and_stays_in_memory() -> None:
    random = np.random.default_rng(4)
    model = build("llama", max_position_embeddings=512)
    per_token = Reader(build("llama"), 1, 1).store.token_bytes
    store = (reader := Reader(model, 8, 512, memory=1024 * per_token)).store
    assert store.slots == store.fitting(1) == 8 and store.fitting(129) == 4 and store.fitting(512) == 2
    tokens = random.integers(3, VOCABULARY, (8, 20)).tolist()
    reader.read([t for one in tokens for t in one], [Part(slot, 0, 20) for slot in range(8)], [19])
    store.arrange(4, 200, [(5, 20), (2, 7)])
    assert store.nbytes <= 1024 * per_token and (store.slots, store.capacity) == (4, 256)
    found = reader.read([9, *tokens[2][7:]], [Part(0, 20, 1), Part(1, 7, 13)], [0, 13])
    alone = build("llama", max_position_embeddings=512)
    torch.testing.assert_close(found[0], naive(alone, [*tokens[5], 9])[-1], rtol=0, atol=1e-9)
    torch.testing.assert_close(found[1], naive(alone, tokens[2])[-1], rtol=0, atol=1e-9)
