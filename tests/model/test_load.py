import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MambaConfig

from instil.core.errors import UserError
from instil.model.load import (
    add_tokens,
    context_length,
    embedding_matrices,
    load_config,
    load_model,
    untrained_tokens,
    with_exact_attention,
)
from tests.model.tiny import VOCABULARY, build

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "weights"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build("qwen3", torch.bfloat16, tie_word_embeddings=False).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def change(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def test_weights_come_in_the_dtype_asked_for(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stored = load_file(saved / "model.safetensors")
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        model = load_model(saved, dtype=dtype)
        assert {p.dtype for p in model.parameters()} == {dtype} and not model.training
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, stored[name].to(dtype)), name
    assert load_model(str(saved)).dtype == torch.float32
    assert capfd.readouterr() == ("", "")  # no progress bar, no load report


def test_context_length(saved: Path) -> None:
    assert context_length(load_config(saved)) == 128
    assert [context_length(build(kind).config) for kind in ("llama", "gpt2", "gemma3_text", "opt")] == [128] * 4
    assert context_length(MambaConfig()) is None


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"model_type": "zorg"}, "of a model_type that transformers .* does not know"),
        ({"model_type": "vit"}, "is a vit model, which does not continue text"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, r"are quantized \(mxfp4\)"),
        ({"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3}, "lack 11 tensors of its architecture, such as model.layers.2."),
        ({"intermediate_size": 50}, "have other shapes than its config.json says"),
        ({"model_type": "own", "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}}, "trust_remote_code: true"),
    ],
)
def test_what_cannot_be_loaded(folder: Path, values: dict[str, object], sentence: str) -> None:
    (folder / "code.py").write_text("raise SystemExit('must not run')")
    change(folder, **values)
    with pytest.raises(UserError, match=sentence) as caught:
        load_model(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_folders(folder: Path, tmp_path: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="weights of .* are damaged"):
        load_model(folder)
    weights.unlink()
    with pytest.raises(UserError, match="holds no weights"):
        load_model(folder)
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"weights only as \.bin files.*convert them once with `python -c"):
        load_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json of .* cannot be read"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"holds no config\.json"):
        load_model(folder)
    with pytest.raises(UserError, match="model folder .* does not exist"):
        load_model(tmp_path / "missing")


def test_converting_a_bin_folder_as_the_sentence_says(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError) as caught:
        load_model(folder)
    code = str(caught.value).split('python -c "')[1].split('"`')[0]
    exec(code, {})
    assert torch.equal(load_model(folder, dtype=torch.bfloat16).state_dict()["lm_head.weight"], state["lm_head.weight"])


def test_hub_id_without_a_network() -> None:
    with pytest.raises(UserError, match="nobody/nothing is neither a folder here nor to be had from the hub .*hf download nobody/nothing"):
        load_model("nobody/nothing")


def test_unused_tensors_are_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = load_file(folder / "model.safetensors") | {"model.extra": torch.zeros(1)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with caplog.at_level(logging.WARNING, "instil"):
        load_model(folder)
    assert "1 tensors that Qwen3ForCausalLM does not use, such as model.extra" in caplog.text


@pytest.mark.parametrize("tied", [True, False])
def test_vocabulary_grows_exactly(tied: bool) -> None:
    model = build("llama", torch.float32, tie_word_embeddings=tied)
    tokens = torch.arange(3, 20)[None]
    before = model(tokens).logits
    old = [matrix.detach().clone() for matrix in embedding_matrices(model)]
    assert add_tokens(model, VOCABULARY + 3, [VOCABULARY, VOCABULARY + 2]) == [VOCABULARY, VOCABULARY + 1, VOCABULARY + 2]
    matrices = embedding_matrices(model)
    assert len(matrices) == len(old) == (1 if tied else 2) and model.config.vocab_size == VOCABULARY + 3
    torch.testing.assert_close(model(tokens).logits[..., :VOCABULARY], before)
    for matrix, rows in zip(matrices, old, strict=True):
        assert len(matrix) == VOCABULARY + 3
        new = matrix[VOCABULARY:]
        assert (new - rows.mean(0)).norm(dim=1).max() < 0.05 * rows.std() * rows.shape[1] ** 0.5
        assert not torch.equal(new[0], new[1])
    # A new token is never among the likeliest, and has a little less than its share of the probability.
    share = model(tokens).logits.softmax(-1)[..., VOCABULARY:]
    assert share.max() < 0.1 and share.mean() < 1 / VOCABULARY


def test_spare_rows_are_used_before_the_vocabulary_grows() -> None:
    model = build("llama", torch.float32)
    before = embedding_matrices(model)[0].detach().clone()
    assert add_tokens(model, 90, [88, 89], seed=1) == [88, 89]
    after = embedding_matrices(model)[0]
    assert len(after) == VOCABULARY and torch.equal(after[:88], before[:88]) and torch.equal(after[90:], before[90:])
    assert not torch.equal(after[88], before[88])
    again = build("llama", torch.float32)
    add_tokens(again, 90, [88, 89], seed=1)
    assert torch.equal(embedding_matrices(again)[0], after)
    assert add_tokens(model, 90, []) == []


def test_bias_of_the_head_grows_as_well() -> None:
    model = build("phi", torch.float32)
    bias = model.lm_head.bias.detach().clone()
    add_tokens(model, VOCABULARY + 2, [])
    assert model.lm_head.bias.shape == (VOCABULARY + 2,)
    torch.testing.assert_close(model.lm_head.bias[VOCABULARY:], bias.mean().expand(2), rtol=0, atol=0.1 * float(bias.std()))


@pytest.mark.parametrize("tied", [True, False])
def test_untrained_rows(tied: bool) -> None:
    """Every way in which a row shows that it was never trained, and none of the rows that were."""
    model = build("llama", torch.float32, tie_word_embeddings=tied)
    assert untrained_tokens(model, range(VOCABULARY)) == []
    matrix = embedding_matrices(model)[-1]  # untied: in the head alone
    with torch.no_grad():
        matrix[3] = 0
        matrix[4] *= 1e-3
        matrix[10:17] = matrix[50] + 0.01 * torch.randn(7, matrix.shape[1])  # pushed around together
        matrix[20] = matrix[21]
        matrix[30] = torch.cat([matrix[:30], matrix[31:]]).mean(0)
    assert untrained_tokens(model, range(VOCABULARY)) == [3, 4, *range(10, 17), 20, 21, 30, 50]
    assert untrained_tokens(model, [50, 3, 60]) == [50, 3] and untrained_tokens(model, []) == []


def test_new_rows_count_as_untrained_until_they_are() -> None:
    model = build("llama", torch.float32)
    assert untrained_tokens(model, add_tokens(model, VOCABULARY + 2, [])) == [VOCABULARY, VOCABULARY + 1]


@pytest.mark.skipif(not REAL.exists(), reason="no real weights here")
def test_untrained_rows_of_real_weights() -> None:
    """stories260K knows 256 byte tokens, of which its training text needs the line break and parts of typographic characters alone."""
    model = load_model(REAL / "stories260K")
    vocabulary = json.loads((REAL / "stories260K" / "tokenizer.json").read_text())["model"]["vocab"]
    ids = vocabulary if isinstance(vocabulary, dict) else {piece: i for i, (piece, _) in enumerate(vocabulary)}
    byte_ids = [i for piece, i in ids.items() if piece.startswith("<0x")]
    words = [i for piece, i in ids.items() if piece.startswith("▁") and len(piece) > 2]
    assert len(byte_ids) == 256 and len(words) > 50
    trained = set(byte_ids) - set(untrained_tokens(model, byte_ids))
    assert ids["<0x0A>"] in trained and len(trained) < 20
    assert not trained & {ids[f"<0x{byte:02X}>"] for byte in range(128) if byte != 10}
    assert untrained_tokens(model, words) == []


def test_soft_capping_is_never_left_out() -> None:
    """transformers 5.17 chooses an attention function for Gemma 2 that knows no soft-capping."""
    for kind, expected in (("gemma2", "eager"), ("llama", "sdpa")):
        model = build(kind)
        model.config._attn_implementation = "sdpa"
        assert with_exact_attention(model).config._attn_implementation == expected
