from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from instil.batch.trie import lay_out
from instil.core.errors import UserError
from instil.core.recipe import Lora
from instil.model.adapters import add_lora, describe_adapters, load_adapter, round_frozen, round_weights, save_adapter, trainable_parameters
from instil.model.attention import tree_attention
from instil.model.load import add_tokens, load_model
from instil.model.probe import probe
from instil.model.step import row_loss
from tests.model.tiny import ARCHITECTURES, VOCABULARY, Float64, build, gradients, naive_loss, step

TOKENS = torch.tensor([[5, 9, 20, VOCABULARY, 7, 30, VOCABULARY + 1, 11]])


def disturb(model: nn.Module) -> None:
    """As if trained: LoRA's B is zero at first, and nothing would be seen of it."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.dtype)


def saved_base(folder: Path, kind: str = "llama", **changes: object) -> Path:
    build(kind, torch.float32, **changes).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("kind", "tied"), [("llama", True), ("llama", False), ("gemma3_text", True), ("gpt2", True), ("phi", False)])
def test_adapter_loads_in_plain_peft(kind: str, tied: bool, tmp_path: Path) -> None:
    """Two new tokens beyond the vocabulary: the same logits through PeftModel, AutoPeftModel and ours. phi's head has a bias."""
    base = load_model(saved_base(tmp_path / "base", kind, tie_word_embeddings=tied))
    model = add_lora(base, Lora(rank=4), add_tokens(base, VOCABULARY + 2, []), seed=1).eval()
    disturb(model)
    expected = model(TOKENS).logits
    save_adapter(model, tmp_path / "adapter")
    vocabulary = {f"w{i}": i for i in range(VOCABULARY + 2)}
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(vocabulary, "w0"))).save_pretrained(tmp_path / "adapter")

    resized = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    resized.resize_token_embeddings(VOCABULARY + 2)
    found = {
        "peft": PeftModel.from_pretrained(resized, tmp_path / "adapter"),
        "auto": AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter"),
        "ours": load_adapter(load_model(tmp_path / "base"), tmp_path / "adapter"),
    }
    for name, other in found.items():
        torch.testing.assert_close(other.eval()(TOKENS).logits, expected, rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(found["ours"].merge_and_unload()(TOKENS).logits, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
def test_what_is_trained(tied: bool) -> None:
    """Adapters on all linear layers but the head, the rows of the tokens named, in both matrices where they are two, and nothing else."""
    base = build("llama", torch.float32, tie_word_embeddings=tied)
    frozen = {name: p.detach().clone() for name, p in base.named_parameters()}
    model = add_lora(base, Lora(rank=4), [5, 90])
    (row,) = lay_out(step(), max_tokens=1000)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(2):  # at the first step the gradient of LoRA's A is zero
        with tree_attention(model):
            found = gradients(model, (loss := row_loss(model, row, tree=True).total) / loss.detach())
            (loss2 := row_loss(model, row, tree=True).total / 50).backward()
        assert loss2.isfinite()
        optimizer.step()
        optimizer.zero_grad()
    assert all(gradient.any() for gradient in found.values())
    names = {name.split(".")[-4] for name in found if "lora_" in name}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert sum("trainable_tokens" in name for name in found) == (1 if tied else 2)
    layers, rows = 2 * 7, 1 if tied else 2
    assert describe_adapters(model).startswith(
        f"LoRA of rank 4 on {layers} layers (down_proj, "
    ) and "2 rows of embed_tokens" in describe_adapters(model)
    trainable, everything = trainable_parameters(model)
    assert trainable == sum(g.numel() for g in found.values()) == 4 * (2 * (4 * 32 + 16 + 16 + 32 + 32 + 3 * 80)) + rows * 2 * 32
    assert everything == sum(p.numel() for p in frozen.values()) + trainable
    merged = model.merge_and_unload()
    for name, parameter in merged.named_parameters():
        changed = (parameter != frozen[name]).reshape(len(parameter), -1).any(1).nonzero()[:, 0].tolist()
        expected = [5, 90] if "embed" in name or "lm_head" in name else [] if "norm" in name else list(range(len(parameter)))
        assert changed == expected, name


@pytest.mark.parametrize("options", [{}, {"rslora": True}, {"dora": True}])
def test_tree_equals_alone_under_adapters(options: dict[str, bool]) -> None:
    base = build("qwen3", tie_word_embeddings=True)
    model = add_lora(base, Lora(rank=4, **options), [5, 90])
    disturb(model.double())
    with Float64():
        expected = naive_loss(model.get_base_model(), step())
        expected_gradients = gradients(model, expected)
        (row,) = lay_out(step(), max_tokens=1000)
        with tree_attention(model):
            total = row_loss(model, row, tree=True).total
            found = gradients(model, total)
    assert total.item() == pytest.approx(expected.item(), rel=1e-12)
    assert found.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-9)
    assert probe(model, step()).mode == "tree"


def test_seed_fixes_the_start() -> None:
    state = torch.random.get_rng_state()
    models = [add_lora(build("llama", torch.float32), Lora(rank=2), seed=seed) for seed in (1, 1, 2)]
    weights = [torch.cat([p.flatten() for n, p in m.named_parameters() if "lora_A" in n]) for m in models]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    torch.manual_seed(0)
    assert not torch.equal(state, weights[0])


def test_disabled_adapters_are_the_base() -> None:
    base = build("llama", torch.float32)
    tokens = TOKENS.clamp(max=VOCABULARY - 1)
    expected = base(tokens).logits
    model = add_lora(base, Lora(rank=2), [5, 90])
    disturb(model)
    assert not torch.allclose(model(tokens).logits, expected, atol=1e-2)
    with model.disable_adapter():
        torch.testing.assert_close(model(tokens).logits, expected)


@pytest.mark.parametrize("kind", sorted(ARCHITECTURES.keys() - {"modernbert-decoder"}))  # that one has no decoder of its own
def test_rounding_frozen_weights_changes_no_bit(kind: str) -> None:
    """Loss and gradients under autocast, before and after, in training mode (some routers differ there)."""
    model, (row,) = add_lora(build(kind, torch.float32), Lora(rank=4)), lay_out(step(), max_tokens=1000)
    disturb(model)
    model.train()

    def found() -> tuple[float, dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            loss = row_loss(model, row, tree=True)
        return loss.total.item(), gradients(model, loss.total)

    with tree_attention(model):
        before = found()
        saved = round_frozen(model, torch.bfloat16)
        after = found()
    assert saved > 0 or kind == "gpt2"  # which has no nn.Linear
    assert after[0] == before[0]
    assert all(torch.equal(after[1][name], gradient) for name, gradient in before[1].items())
    assert round_frozen(model, torch.bfloat16) == 0


def test_dora_and_embeddings_are_not_rounded() -> None:
    assert round_frozen(add_lora(build("llama", torch.float32), Lora(rank=4, dora=True)), torch.bfloat16) == 0
    model = add_lora(build("llama", torch.float32), Lora(rank=4), [3])
    round_frozen(model, torch.bfloat16)
    rounded = {name for name, p in model.named_parameters() if p.dtype == torch.bfloat16}
    assert len(rounded) == 2 * 7 and all("base_layer" in name for name in rounded)


def test_targets_by_name() -> None:
    model = add_lora(build("llama", torch.float32), Lora(rank=2, targets=["q_proj", "layers.1.mlp.up_proj"]))
    adapted = {name.removesuffix(".lora_A.default.weight") for name, _ in model.named_parameters() if "lora_A" in name}
    assert adapted == {f"base_model.model.model.layers.{name}" for name in ("0.self_attn.q_proj", "1.self_attn.q_proj", "1.mlp.up_proj")}
    with pytest.raises(UserError, match="'query' matches no module of LlamaForCausalLM: choose from down_proj, gate_proj, k_proj"):
        add_lora(build("llama", torch.float32), Lora(targets=["q_proj", "query"]))


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe"])
def test_experts(kind: str) -> None:
    """Fused experts stay as they are, and the sentence says so; named, they are adapted."""
    model = add_lora(build(kind, torch.float32), Lora(rank=2))
    assert "4 fused expert tensors (down_proj, gate_up_proj) stay as they are" in describe_adapters(model)
    named = Lora(rank=2, targets=["q_proj", "experts.gate_up_proj", "experts.down_proj"])
    model = add_lora(build(kind, torch.float32), named)
    disturb(model)
    (row,) = lay_out(step(), max_tokens=1000)
    with tree_attention(model):
        found = gradients(model, row_loss(model, row, tree=True).total)
    assert sum("experts" in name and gradient.any() for name, gradient in found.items()) >= 8
    with pytest.raises(UserError, match="without dropout and DoRA"):
        add_lora(build(kind, torch.float32), named.model_copy(update={"dropout": 0.1}))


def test_experts_survive_saving(tmp_path: Path) -> None:
    base = load_model(saved_base(tmp_path / "base", "qwen3_moe"))
    model = add_lora(base, Lora(rank=2, targets=["q_proj", "experts.gate_up_proj", "experts.down_proj"])).eval()
    disturb(model)
    save_adapter(model, tmp_path / "adapter")
    other: PreTrainedModel = load_adapter(load_model(tmp_path / "base"), tmp_path / "adapter").eval()  # type: ignore[assignment]
    tokens = TOKENS.clamp(max=VOCABULARY - 1)
    torch.testing.assert_close(other(tokens).logits, model(tokens).logits, rtol=0, atol=1e-5)


def test_folder_without_an_adapter(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no adapter_config.json"):
        load_adapter(build("llama", torch.float32), tmp_path)


@pytest.mark.parametrize("tied", [True, False])
def test_weights_in_bf16_are_as_transformers_loads_them(tied: bool, tmp_path: Path) -> None:
    """Rotary frequencies stay as they are: in bf16 they would be off by up to 0.4 %."""
    model = build("llama", torch.float32, num_hidden_layers=1, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    round_weights(model, torch.bfloat16)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    for ours, theirs in ((model.named_parameters(), loaded.named_parameters()), (model.named_buffers(), loaded.named_buffers())):
        found, expected = dict(ours), dict(theirs)
        assert found.keys() == expected.keys() and len(found) > 0
        assert all(torch.equal(tensor, expected[name]) and tensor.dtype == expected[name].dtype for name, tensor in found.items())
