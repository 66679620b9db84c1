"""The weights of a Hugging Face folder, read a piece at a time: a tensor is a place in a file until somebody asks for rows of it."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from instil.core.errors import UserError

# safetensors' names for what instil saves, and the numpy type that holds the same bits.
STORED: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a safetensors file. `start`: its first byte in the file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int

    def rows(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Rows `index` of the tensor (elements, where it has one dimension) as float32. What else the file holds is not read."""
        bits = np.memmap(self.file, STORED[self.dtype], "r", self.start, self.shape)[index]
        if self.dtype == "BF16":  # the upper half of a float32
            return (bits.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(bits, dtype=np.float32)


def stored_tensors(folder: Path) -> Mapping[str, Stored]:
    """Every tensor of the folder's safetensors files by name. Raises UserError where there is none, or one that cannot be read."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder} holds no *.safetensors file: give a folder with merged weights (an adapter alone is not enough)")
    found: dict[str, Stored] = {}
    for file in files:
        found |= _stored_in(file)
    return found


def _stored_in(file: Path) -> dict[str, Stored]:
    # The header of a safetensors file: its length in eight bytes, then JSON (https://github.com/huggingface/safetensors#format).
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
    except (OSError, struct.error, ValueError, MemoryError, OverflowError) as error:
        raise UserError(f"{file} cannot be read ({error}): copy the folder again") from None
    header.pop("__metadata__", None)
    for name, about in header.items():
        if about["dtype"] not in STORED:
            known = ", ".join(STORED)
            raise UserError(f"{file}: {name} is stored as {about['dtype']}: save the model in one of {known} first")
        if 8 + length + about["data_offsets"][1] > file.stat().st_size:
            raise UserError(f"{file} is cut short (it ends before {name} does): copy the folder again")
    return {
        name: Stored(file, about["dtype"], tuple(about["shape"]), 8 + length + about["data_offsets"][0]) for name, about in header.items()
    }
