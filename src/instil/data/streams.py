"""Bytes and text of a file, decompressed on the way, never the whole of it in memory."""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

import pyarrow as pa  # type: ignore[import-untyped]

from instil.core.errors import UserError

PIECE = 1 << 18  # bytes; larger pieces are no faster
BOM = codecs.BOM_UTF8
COMPRESSIONS = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bz2"))
FOREIGN = ((b"PK\x03\x04", "a zip archive"), (b"\xfd7zXZ", "xz-compressed"), (b"7z\xbc\xaf", "a 7z archive"))


def open_bytes(file: Path, name: str) -> BinaryIO:
    """The file's bytes, decompressed where its first bytes (not its suffix) say gzip, zstd or bzip2.

    Raises UserError for other archives. A stream that is cut off raises OSError when it is read that far.
    """
    with open(file, "rb") as raw:
        magic = raw.read(8)
    for start, what in FOREIGN:
        if magic.startswith(start):
            raise UserError(f"{name} is {what}: unpack it, or compress it as .gz, .zst or .bz2")
    for start, compression in COMPRESSIONS:
        if magic.startswith(start):
            unpacked = pa.CompressedInputStream(pa.OSFile(str(file)), compression)
            return io.BufferedReader(unpacked, PIECE)
    return open(file, "rb", buffering=PIECE)


def text_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """Lines with their ends, split at line feeds only: JSON strings may hold U+2028 and other separators that `splitlines` cuts at."""
    offset = 0
    for raw in stream:
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            _not_utf8(name, offset + error.start, raw[error.start])
        yield text if offset else text.removeprefix("\ufeff")
        offset += len(raw)


def text_pieces(stream: BinaryIO, name: str) -> Iterator[str]:
    """The same text in pieces of about `PIECE` characters."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    while True:
        data = stream.read(PIECE)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            # error.object begins with what an earlier piece left over.
            _not_utf8(name, offset + len(data) - len(error.object) + error.start, error.object[error.start])
        if not data:
            return
        yield text if offset else text.removeprefix("\ufeff")
        offset += len(data)


def _not_utf8(name: str, position: int, byte: int) -> NoReturn:
    raise UserError(
        f"{name} is not UTF-8 text at byte {position} (0x{byte:02x}): convert it, e.g. with `iconv -f latin1 -t utf-8`"
    ) from None
