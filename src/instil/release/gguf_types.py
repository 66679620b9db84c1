"""How weights are stored: the names that `--quantize` takes, which tensor gets which type, and the bytes."""

import ctypes
import functools
import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType, quants

from instil.core.errors import UserError, nearest

Type = GGMLQuantizationType


@dataclass(frozen=True, slots=True)
class Quantization:
    """`main`: most matrices. `head`: the output matrix, and an embedding that serves as one. `more`: attn_v and ffn_down of the layers that
    llama.cpp's own mixtures give more bits. `file`: what the file says of itself."""

    main: Type
    head: Type
    file: LlamaFileType
    more: Type | None = None


def _same(kind: Type, file: LlamaFileType) -> Quantization:
    return Quantization(kind, kind, file)


# Few bits in the head cost most: llama-quantize gives it Q6_K, and with what numpy writes it is Q8_0.
QUANTIZATIONS: Mapping[str, Quantization] = {
    "f32": _same(Type.F32, LlamaFileType.ALL_F32),
    "f16": _same(Type.F16, LlamaFileType.MOSTLY_F16),
    "bf16": _same(Type.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": _same(Type.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q5_1": Quantization(Type.Q5_1, Type.Q8_0, LlamaFileType.MOSTLY_Q5_1),
    "q5_0": Quantization(Type.Q5_0, Type.Q8_0, LlamaFileType.MOSTLY_Q5_0),
    "q4_1": Quantization(Type.Q4_1, Type.Q8_0, LlamaFileType.MOSTLY_Q4_1),
    "q4_0": Quantization(Type.Q4_0, Type.Q8_0, LlamaFileType.MOSTLY_Q4_0),
    "q6_k": _same(Type.Q6_K, LlamaFileType.MOSTLY_Q6_K),
    "q5_k_m": Quantization(Type.Q5_K, Type.Q6_K, LlamaFileType.MOSTLY_Q5_K_M, Type.Q6_K),
    "q4_k_m": Quantization(Type.Q4_K, Type.Q6_K, LlamaFileType.MOSTLY_Q4_K_M, Type.Q6_K),
}

# A row is stored in blocks of 32 or 256 weights. Where its width is no multiple, this comes instead (as llama-quantize does it).
_NARROWER = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}


def quantization(name: str) -> Quantization:
    """The quantization of that name. Raises UserError for an unknown name, or for one that needs a library which is not there."""
    if name not in QUANTIZATIONS:
        raise UserError(f"--quantize {name} is not known; {nearest(name, QUANTIZATIONS)}")
    found = QUANTIZATIONS[name]
    if found.main in _NARROWER and not library():
        raise UserError(
            f"--quantize {name} needs llama.cpp's library: pip install 'instil[gguf]', or choose q8_0, q5_1, q5_0, q4_1 or q4_0"
        )
    return found


def type_of(chosen: Quantization, name: str, shape: tuple[int, ...], layers: int, tied: bool) -> Type:
    """The type of one tensor. Vectors stay float32: they are few, and norms are sensitive."""
    if len(shape) == 1:
        return Type.F32
    kind = chosen.main
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        kind = chosen.head
    elif chosen.more and name.split(".")[2:3] in (["attn_v"], ["ffn_down"]) and _more_bits(int(name.split(".")[1]), layers):
        kind = chosen.more
    while shape[-1] % GGML_QUANT_SIZES[kind][0]:
        kind = _NARROWER.get(kind, Type.F16)
    return kind


def _more_bits(layer: int, layers: int) -> bool:
    """The first and last eighth of the layers and every third between: llama.cpp, `src/llama-quant.cpp`, `use_more_bits`."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def encode(values: npt.NDArray[np.float32], kind: Type, name: str) -> npt.NDArray[Any]:
    """Rows of weights as they are stored. Raises UserError where float16 cannot hold them (it ends at 65,504)."""
    if kind in _NARROWER:
        return _encode_k(np.ascontiguousarray(values), kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an overflow, which is looked for below
        data = quants.quantize(values, kind)
    if kind == Type.F16 and not np.isfinite(data).all():
        raise UserError(f"{name} holds weights that float16 cannot: use --quantize bf16 or f32")
    return data


def bytes_of(shape: tuple[int, ...], kind: Type) -> tuple[int, ...]:
    """The shape of a tensor in bytes."""
    block, size = GGML_QUANT_SIZES[kind]
    return (*shape[:-1], shape[-1] // block * size)


def _encode_k(values: npt.NDArray[np.float32], kind: Type) -> npt.NDArray[np.uint8]:
    found = library()
    assert found is not None, "quantization() has looked"
    rows, width = values.shape
    data = np.empty(bytes_of(values.shape, kind), dtype=np.uint8)
    pointer = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    written = found(int(kind), pointer, data.ctypes.data_as(ctypes.c_void_p), 0, rows, width, None)
    assert written == data.nbytes, "llama.cpp wrote another size than gguf knows"
    return data


@functools.cache
def library() -> Callable[..., int] | None:
    """`ggml_quantize_chunk` of an installed llama.cpp: that of xllamacpp, or of llama-cpp-python. None where there is neither."""
    for package, pattern in (("xllamacpp", "xllamacpp*.so"), ("llama_cpp", "lib/libggml-base.*")):
        spec = importlib.util.find_spec(package)
        for folder in spec.submodule_search_locations or () if spec else ():
            for file in sorted(Path(folder).glob(pattern)):
                try:
                    function = ctypes.CDLL(str(file)).ggml_quantize_chunk
                except (OSError, AttributeError):
                    continue
                floats, number = ctypes.POINTER(ctypes.c_float), ctypes.c_int64
                function.argtypes = [ctypes.c_int, floats, ctypes.c_void_p, number, number, number, floats]
                function.restype = ctypes.c_size_t
                return function
    return None
