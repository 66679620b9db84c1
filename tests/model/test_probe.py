import dataclasses

import pytest
import torch

from instil.core.errors import UserError
from instil.model import probe as probing
from instil.model.layout import Layout, lay_out_tree
from instil.model.probe import probe
from tests.model.tiny import WINDOW, build, step


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2", "mixtral", "gpt_oss"])
@pytest.mark.parametrize("autocast", [False, True])
def test_can_be_packed(kind: str, autocast: bool) -> None:
    model = build(kind, torch.float32).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = probe(model, step())
    assert found.mode == "tree" and "computed as alone" in found.sentence
    assert found.difference is not None and found.tolerance is not None and 0 <= found.difference < 0.5 * found.tolerance
    assert model.training and model.config._attn_implementation in ("sdpa", "eager")


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("bloom", {}, "BloomForCausalLM does not use transformers' attention interface"),
        ("mamba", {}, "MambaForCausalLM carries a state from token to token"),
        ("stablelm", {}, "StableLmAttention is not handed the keyword arguments"),
        ("llama4_text", {}, "layers of a kind that tree attention does not know (chunked_attention)"),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}, "Lfm2ForCausalLM carries a state"),
        ("bert", {"is_decoder": False}, "attention mask is neither causal nor a sliding window"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # transformers' own, about odd configurations
def test_cannot_be_packed(kind: str, changes: dict[str, object], reason: str) -> None:
    model = build(kind, torch.float32, **changes)
    found = probe(model, step())
    assert found.mode == "alone" and reason in found.sentence and found.sentence.startswith("one example per pass: ")
    assert found.difference is None
    with pytest.raises(UserError, match="train.packing is tree, but .*: set train.packing: auto"):
        probe(model, step(), require_tree=True)


@pytest.mark.parametrize("breakage", ["sees a sibling", "position"])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_wrong_result_is_noticed(breakage: str, autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> Layout:
        layout = lay_out_tree(*arguments)  # type: ignore[arg-type]
        if breakage == "position":
            shifted = torch.cat([layout.positions_T[: -layout.lengths[2]], layout.positions_T[-layout.lengths[2] :] + 1])
            return dataclasses.replace(layout, positions_T=shifted)
        return dataclasses.replace(layout, chains=((), (0,), (0, 1)), seen=(*layout.seen[:2], layout.seen[1] + layout.lengths[1]))

    monkeypatch.setattr(probing, "lay_out_tree", broken)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = probe(build("llama", torch.float32), step())
    assert found.mode == "alone" and "computes packed examples differently" in found.sentence
    assert found.difference is not None and found.tolerance is not None and found.difference > 10 * found.tolerance


def test_compares_beyond_the_sliding_window() -> None:
    """Where the window is long, longer paths; where it is too long, or the model too short, the sentence says so."""
    assert "sliding window" not in probe(build("mistral", torch.float32, sliding_window=100, max_position_embeddings=500), step()).sentence
    for changes in ({"sliding_window": 100, "max_position_embeddings": 90}, {"sliding_window": 4096, "max_position_embeddings": 10_000}):
        found = probe(build("mistral", torch.float32, **changes), step())
        assert found.mode == "tree" and f"{changes['sliding_window']:,} tokens is longer than what was compared" in found.sentence


def test_window_that_is_off_by_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Layout, "mask", lambda self, node, window, mask=Layout.mask: mask(self, node, window and window + 1))
    assert WINDOW < probing.LENGTH
    assert probe(build("mistral", torch.float32), step()).mode == "alone"


def test_rotary_angles_that_depend_on_the_longest_example() -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    model = build("llama", torch.float32, rope_parameters=rope)
    assert probe(model, step(), longest=128).mode == "tree"
    found = probe(model, step(), longest=129)
    assert found.mode == "alone" and "some are longer than 128 tokens" in found.sentence


def test_bug_of_the_model_itself_is_not_hidden() -> None:
    """What fails alone, too, is no question of packing."""
    model = build("llama", torch.float32)
    model.model.layers[0].mlp.up_proj = torch.nn.Linear(3, 3)
    with pytest.raises(RuntimeError):
        probe(model, step())


def test_nan_is_no_agreement() -> None:
    model = build("llama", torch.float32)
    torch.nn.init.constant_(model.model.norm.weight, float("nan"))
    assert probe(model, step()).mode == "alone"
