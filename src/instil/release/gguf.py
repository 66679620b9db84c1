"""A merged Hugging Face folder as one GGUF file, the format of llama.cpp, Ollama and LM Studio.

The file carries the whole chat contract: the template, the rule about BOS (always written: without the key each consumer guesses), every
stop token, the type of every token. Weights are read and written a few rows at a time, so that a model need not fit into memory.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from instil.core.errors import UserError
from instil.core.files import atomic_file, read_json
from instil.core.values import Message
from instil.release.gguf_families import Family, Layout, Shape, block_name, family_of, shape_of
from instil.release.gguf_layout import layout_of
from instil.release.gguf_source import Stored, stored_tensors
from instil.release.gguf_types import Quantization, bytes_of, encode, quantization, type_of
from instil.release.gguf_vocabulary import Vocabulary, vocabulary_of
from instil.release.go_template import adds_bos
from instil.release.hf import literal
from instil.template.contract import Contract
from instil.template.saved import read_contract

SLAB = 1 << 21
"""Weights that are worked on at a time: 2 million, 8 MB as float32."""

# Tokens that llama.cpp stops at by their text alone (`src/llama-vocab.cpp`); three more can be named in the file.
KNOWN_STOPS = frozenset(
    {
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "</s>",
        "<|eom_id|>",
        "<EOT>",
        "_<EOT>",
    }
) | {"[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>"}


@dataclass(frozen=True, slots=True)
class GgufReport:
    """What was written. `tensors`: how many of each type. `remarks`: what differs from the model as trained, in sentences; `differs` tells
    the texts of which they speak. `bare`: see `Vocabulary`."""

    path: Path
    architecture: str
    quantize: str
    size: int
    tensors: Mapping[str, int]
    tokenizer: str
    remarks: tuple[str, ...]
    differs: Callable[[str], bool] | None = None
    bare: bool = False


@dataclass(frozen=True, slots=True)
class _Part:
    """One tensor of the file. `order`: rows of the source in the order in which they are written; None: as they are."""

    name: str
    source: Stored | npt.NDArray[np.float32]
    kind: gguf.GGMLQuantizationType
    order: npt.NDArray[np.int64] | None = None
    shift: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.source.shape)

    def slabs(self) -> Iterator[npt.NDArray[Any]]:
        """The stored bytes, a few rows at a time."""
        rows, width = self.shape[0], int(np.prod(self.shape[1:], dtype=np.int64))
        step = max(1, SLAB // width)
        for start in range(0, rows, step):
            index = np.arange(start, min(rows, start + step)) if self.order is None else self.order[start : start + step]
            values = self.source.rows(index) if isinstance(self.source, Stored) else self.source[index]
            yield encode(values + np.float32(self.shift) if self.shift else values, self.kind, self.name)


def write_gguf(source: Path, target: Path, *, quantize: str = "f16", progress: Callable[[int, int], None] | None = None) -> GgufReport:
    """Write the merged model in `source` as the file `target`, atomically. `progress` is given bytes written and bytes in all.

    Raises UserError, before anything is written, for a family, a tokenizer or a setting that llama.cpp would compute differently.
    """
    chosen, config, contract = quantization(quantize), read_json(source / "config.json"), read_contract(source)
    family = family_of(config, str(source))
    layout = layout_of(config, family, str(source))
    stored = stored_tensors(source)
    parts = _parts(stored, layout, family, shape_of(config), chosen, source)
    rows = stored["model.embed_tokens.weight"].shape[0]
    vocabulary = vocabulary_of(contract.tokenizer.backend, rows, _begins_special(contract), str(source))
    with atomic_file(target, "wb") as file:
        # The writer opens the temporary name itself; atomic_file syncs and renames it.
        writer = gguf.GGUFWriter(Path(file.name), family.arch)
        _add_keys(writer, family.arch, layout.keys | {"vocab_size": rows}, general_name(target.stem, vocabulary.strips), chosen)
        _add_vocabulary(writer, vocabulary)
        _add_contract(writer, contract, str(source))
        _write_parts(writer, parts, progress)
    kinds = [part.kind.name for part in parts]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    named = f"{vocabulary.model}, {vocabulary.pre}" if vocabulary.model == "gpt2" else vocabulary.model
    remarks = (*layout.remarks, *vocabulary.remarks)
    return GgufReport(target, family.arch, quantize, target.stat().st_size, counts, named, remarks, vocabulary.differs, vocabulary.bare)


def general_name(name: str, strips: bool) -> str:
    """The model's name in the file. By it llama.cpp decides whether blanks behind control tokens vanish (`src/llama-vocab.cpp`): a name
    that reads like Phi-3 is spelt apart where they do not (without Phi-3's tokens it would not even load), and says so where they do."""
    spelt = re.sub(r"(?i)(phi)-?(3)", r"\1 \2", name)
    spelt = re.sub(r"(?i)(modern)-(bert)", r"\1 \2", spelt)
    return f"{spelt} (phi-3)" if strips else spelt


def _begins_special(contract: Contract) -> bool:
    """Whether a rendered chat begins with an added token."""
    text = contract.render([Message(role="user", content="a")], generate=True)
    return text.startswith(tuple(contract.tokenizer.added_tokens) or ("\0",))


def _parts(stored: Mapping[str, Stored], layout: Layout, family: Family, shape: Shape, chosen: Quantization, source: Path) -> list[_Part]:
    if "model.embed_tokens.weight" not in stored:
        raise UserError(f"{source} holds no model.embed_tokens.weight: give a folder with merged weights (an adapter alone is not enough)")
    names = {name: block_name(family, name) for name in stored}
    if lost := [name for name, found in names.items() if found is None and not name.endswith("rotary_emb.inv_freq")]:
        raise UserError(
            f"{source}: llama.cpp has no place for {lost[0]} in a {family.arch} model: merge adapters first, or choose another export"
        )
    sources = {found: stored[name] for name, found in names.items() if found}
    if family.head is False and "output.weight" in sources:
        raise UserError(
            f"{source}: llama.cpp takes the embedding as the output matrix of a {family.arch} model, and this one has its own: untie it not"
        )
    if family.head is True:
        sources.setdefault("output.weight", sources["token_embd.weight"])
    tied = "output.weight" not in sources
    # The order of llama.cpp's own files: what is outside the layers first, then layer by layer.
    ordered = sorted(sources, key=lambda name: (int(name.split(".")[1]) if name.startswith("blk.") else -1, name))
    parts = []
    for name in ordered:
        kind = type_of(chosen, name, sources[name].shape, shape.layers, tied)
        shift = 1.0 if family.shifted and name.endswith("norm.weight") else 0.0
        parts.append(_Part(name, sources[name], kind, _order(name, sources[name], family, shape), shift))
    extra = [_Part(name, np.array(v, np.float32), gguf.GGMLQuantizationType.F32) for name, v in layout.tensors.items()]
    return extra + parts


def _order(name: str, stored: Stored, family: Family, shape: Shape) -> npt.NDArray[np.int64] | None:
    """Rows of q and k as Llama's own code has them: what is turned together stands side by side, in transformers half a head apart."""
    heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(name.split(".")[2] if name.startswith("blk.") else "")
    if not family.permuted or heads is None:
        return None
    rows = stored.shape[0]
    return np.arange(rows).reshape(heads, 2, rows // heads // 2).swapaxes(1, 2).reshape(rows)


def _add_keys(writer: gguf.GGUFWriter, arch: str, keys: Mapping[str, Any], name: str, chosen: Quantization) -> None:
    writer.add_name(name)
    writer.add_file_type(int(chosen.file))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, value in keys.items():
        add: dict[type, Callable[[str, Any], None]]
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string, list: writer.add_array}
        add[type(value)](f"{arch}.{key}", value)


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(list(vocabulary.types))
    if vocabulary.scores:
        writer.add_token_scores(list(vocabulary.scores))
    if vocabulary.merges:
        writer.add_token_merges(list(vocabulary.merges))
    if vocabulary.space_prefix is not None:
        writer.add_add_space_prefix(vocabulary.space_prefix)


def _add_contract(writer: gguf.GGUFWriter, contract: Contract, where: str) -> None:
    tokenizer = contract.tokenizer
    bos, eos = (tokenizer.id_of(tokenizer.special.get(f"{end}_token")) for end in ("bos", "eos"))
    ends = [i for i in dict.fromkeys([eos, *contract.stop_ids]) if i is not None]
    named, left = ends[:3], [tokenizer.decode([i]) for i in ends[3:]]
    if unknown := [text for text in left if text not in KNOWN_STOPS]:
        raise UserError(
            f"{where}: a GGUF file names three tokens that end an answer, and {unknown[0]!r} is one more: choose another export"
        )
    if bos is not None:
        writer.add_bos_token_id(bos)
    for add, i in zip((writer.add_eos_token_id, writer.add_eot_token_id, writer.add_eom_token_id), named, strict=False):
        add(i)
    if (padding := tokenizer.id_of(tokenizer.special.get("pad_token"))) is not None:
        writer.add_pad_token_id(padding)
    if (unknown_id := tokenizer.id_of(tokenizer.special.get("unk_token"))) is not None:
        writer.add_unk_token_id(unknown_id)
    writer.add_add_bos_token(adds_bos(contract))
    writer.add_add_eos_token(False)
    writer.add_chat_template(served_template(contract))


def served_template(contract: Contract) -> str:
    """The template with everything set in front of it that a server of GGUF files does not give it: the run's options, special tokens
    other than BOS and EOS, and an empty BOS where there is none (llama.cpp would take token 11 for it)."""
    template, special = contract.template, contract.tokenizer.special
    given = {name for name in ("bos_token", "eos_token") if name in special}
    values = {"bos_token": "", "eos_token": ""} | {k: v for k, v in special.items() if k not in given} | dict(template.options)
    wanted = {name: value for name, value in values.items() if name in template.variables() and name not in given}
    empty = {name for name in ("bos_token", "eos_token") if name not in special}
    lines = []
    for name, value in sorted(wanted.items()):
        setting = f"{{% set {name} = {literal(value)} %}}"
        lines.append(setting if name in empty else f"{{% if {name} is not defined %}}{setting}{{% endif %}}")
    return "".join(lines) + template.source


def _write_parts(writer: gguf.GGUFWriter, parts: Sequence[_Part], progress: Callable[[int, int], None] | None) -> None:
    sizes = [int(np.prod(bytes_of(part.shape, part.kind), dtype=np.int64)) for part in parts]
    for part, size in zip(parts, sizes, strict=True):
        writer.add_tensor_info(part.name, bytes_of(part.shape, part.kind), np.dtype(np.uint8), size, raw_dtype=part.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout is not None, "opened for the header"
    stream, done = writer.fout[0], 0  # tensors follow one another, each padded to the alignment
    writer.write_padding(stream, stream.tell())
    for part, size in zip(parts, sizes, strict=True):
        for slab in part.slabs():
            stream.write(slab.tobytes())
            done += slab.nbytes
            if progress:
                progress(done, sum(sizes))
        writer.write_padding(stream, size)
    stream.flush()
    os.fsync(stream.fileno())
    writer.close()
