"""What is written into a GGUF file, read back by gguf's own reader; and what is not written at all."""

import pytest

pytest.importorskip("gguf")

import gguf
import numpy as np
from safetensors.numpy import load_file

from instil.core.errors import UserError
from instil.release import gguf_types
from instil.release.gguf import general_name, write_gguf
from instil.release.gguf_source import stored_tensors
from tests.release.small_models import edit_config, write_small


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("llama") / "m", "llama")


def copied(one, place):
    import shutil

    return shutil.copytree(one.folder, place / "copy")


def test_the_whole_contract_is_in_the_file(llama, tmp_path):
    said = []
    report = write_gguf(llama.folder, tmp_path / "first.gguf", progress=lambda done, whole: said.append((done, whole)))
    fields = gguf.GGUFReader(report.path).fields
    value = {key: field.contents() for key, field in fields.items() if not key.endswith(("tokens", "merges", "token_type"))}
    tokenizer = llama.contract.tokenizer
    assert value["tokenizer.ggml.add_bos_token"] is True and value["tokenizer.ggml.add_eos_token"] is False
    assert [value["tokenizer.ggml.eos_token_id"]] == list(llama.contract.stop_ids)
    assert value["tokenizer.ggml.bos_token_id"] == tokenizer.id_of(tokenizer.special["bos_token"])
    assert value["tokenizer.chat_template"].endswith(llama.contract.template.source)
    assert (value["tokenizer.ggml.pre"], value["general.architecture"], value["general.name"]) == ("gpt-2", "llama", "first")
    assert said[-1][0] == said[-1][1] > 0 and report.size == report.path.stat().st_size


def test_weights_are_the_models_own(llama, tmp_path):
    """F32 to the bit; q and k in the original Llama's order."""
    report = write_gguf(llama.folder, tmp_path / "x.gguf", quantize="f32")
    found = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(report.path).tensors}
    source = load_file(llama.folder / "model.safetensors")
    assert np.array_equal(found["blk.1.ffn_down.weight"], source["model.layers.1.mlp.down_proj.weight"])
    q = source["model.layers.0.self_attn.q_proj.weight"]
    assert np.array_equal(found["blk.0.attn_q.weight"], q.reshape(4, 2, 8, 64).swapaxes(1, 2).reshape(64, 64))
    assert len(found) == len(source)


def test_a_few_rows_at_a_time_give_the_same_file(llama, tmp_path, monkeypatch):
    whole = write_gguf(llama.folder, tmp_path / "x.gguf", quantize="q8_0").path.read_bytes()
    monkeypatch.setattr("instil.release.gguf.SLAB", 200)
    (tmp_path / "again").mkdir()
    assert write_gguf(llama.folder, tmp_path / "again" / "x.gguf", quantize="q8_0").path.read_bytes() == whole


def test_rows_are_read_where_they_lie(llama):
    stored = stored_tensors(llama.folder)["model.layers.0.mlp.up_proj.weight"]
    wanted = load_file(llama.folder / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    index = np.array([5, 0, 17])
    assert np.array_equal(stored.rows(index), wanted[index])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "gpt_neox"}, "no GGUF layout is known for model_type 'gpt_neox'"),
        ({"hidden_act": "relu"}, "hidden_act of relu"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "rope_type 'dynamic'"),
        ({"model_type": "qwen2", "head_dim": 32}, "heads x head_dim"),
    ],
)
def test_what_llama_cpp_would_compute_differently(llama, tmp_path, changes, said):
    folder = copied(llama, tmp_path)
    edit_config(folder, **changes)
    with pytest.raises(UserError, match=said):
        write_gguf(folder, tmp_path / "x.gguf")
    assert not (tmp_path / "x.gguf").exists()


def test_a_cut_file_of_weights(llama, tmp_path):
    folder = copied(llama, tmp_path)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UserError, match="cut short"):
        write_gguf(folder, tmp_path / "x.gguf")


def test_an_adapter_has_no_weights(llama, tmp_path):
    folder = copied(llama, tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="an adapter alone is not enough"):
        write_gguf(folder, tmp_path / "x.gguf")


def test_a_window_that_llama_cpp_does_not_know_ends_the_context(llama, tmp_path):
    folder = copied(llama, tmp_path)
    edit_config(folder, model_type="mistral", sliding_window=128)
    report = write_gguf(folder, tmp_path / "x.gguf")
    assert gguf.GGUFReader(report.path).fields["llama.context_length"].contents() == 128
    assert "no sliding window" in report.remarks[0]


def test_options_and_an_empty_bos_stand_before_the_template(llama):
    from dataclasses import replace

    from instil.release.gguf import served_template

    contract = llama.contract
    source = "{% if think %}hm{% endif %}" + contract.template.source
    told = replace(contract, template=replace(contract.template, source=source, options={"think": True}))
    assert served_template(told) == "{% if think is not defined %}{% set think = true %}{% endif %}" + source
    special = {"eos_token": contract.tokenizer.special["eos_token"]}
    bare = replace(contract, tokenizer=replace(contract.tokenizer, special=special))
    assert served_template(bare).startswith('{% set bos_token = "" %}')


@pytest.mark.parametrize(
    ("name", "strips", "written"),
    [("first", False, "first"), ("My-Phi-3-tune", False, "My-Phi 3-tune"), ("phi3", False, "phi 3"), ("mine", True, "mine (phi-3)")],
)
def test_names_that_llama_cpp_reads_something_into(name, strips, written):
    assert general_name(name, strips) == written


@pytest.mark.parametrize(("kind", "worst"), [("q8_0", 0.01), ("q6_k", 0.03), ("q5_k_m", 0.06), ("q4_k_m", 0.1), ("q4_0", 0.12)])
def test_weights_come_back_from_their_blocks(kind, worst):
    """What gguf makes of the bytes, against the weights: relative error of a normal matrix."""
    if kind.endswith(("k", "m")):
        pytest.importorskip("xllamacpp")
    values = np.random.default_rng(0).standard_normal((8, 512)).astype(np.float32)
    chosen = gguf_types.quantization(kind)
    back = gguf.quants.dequantize(gguf_types.encode(values, chosen.main, "w"), chosen.main)
    assert np.linalg.norm(back - values) / np.linalg.norm(values) < worst


def test_narrow_rows_fall_back():
    chosen = gguf_types.QUANTIZATIONS["q4_k_m"]
    kinds = [gguf_types.type_of(chosen, "blk.0.attn_q.weight", (8, width), 2, False).name for width in (512, 64, 48)]
    assert kinds == ["Q4_K", "Q5_0", "F16"]


def test_k_types_need_llama_cpp(monkeypatch, llama, tmp_path):
    monkeypatch.setattr(gguf_types, "library", lambda: None)
    with pytest.raises(UserError, match=r"pip install 'instil\[gguf\]', or choose q8_0"):
        write_gguf(llama.folder, tmp_path / "x.gguf", quantize="q4_k_m")


def test_unknown_types_are_named(llama, tmp_path):
    with pytest.raises(UserError, match="q4_k is not known"):
        write_gguf(llama.folder, tmp_path / "x.gguf", quantize="q4_k")


def test_weights_beyond_float16():
    with pytest.raises(UserError, match="use --quantize bf16"):
        gguf_types.encode(np.full((1, 32), 1e6, np.float32), gguf.GGMLQuantizationType.F16, "w")


def test_more_stops_than_a_file_names(llama, tmp_path):
    """Three can be named; a fourth that llama.cpp does not know by its text is refused."""
    from dataclasses import replace

    from instil.release.gguf import _add_contract

    contract = replace(llama.contract, stop_ids=(*llama.contract.stop_ids, 1, 2, 3))
    with pytest.raises(UserError, match="names three tokens that end an answer"):
        _add_contract(gguf.GGUFWriter(None, "llama"), contract, "here")
