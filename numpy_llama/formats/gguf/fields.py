"""The fields of a GGUF header, one after another: numbers, strings, arrays, values of metadata.

A string is a u64 length and its bytes; an array a u32 type, a u64 count and its elements;
everything is little-endian. ggml, docs/gguf.md.
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...errors import CheckpointError
from ..storage.strict_json import shown

MAX_HEADER = 1 << 26  # bytes; a vocabulary of 262,144 tokens and their merges needs 15 million
STRUCT_U32, STRUCT_U64 = struct.Struct("<I"), struct.Struct("<Q")

# The types of metadata …
U32, BOOL, STRING, ARRAY = 4, 7, 8, 9
NUMBERS: dict[int, np.dtype] = {  # … and those of them that NumPy has
    0: np.dtype("u1"),
    1: np.dtype("i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    U32: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    BOOL: np.dtype("u1"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}


class HeaderReader:
    """The bytes of a header from first to last, and never one more than there are."""

    def __init__(self, path: Path, file: BinaryIO, size: int):
        self.path, self.file = path, file
        self.at, self.end = 0, min(size, MAX_HEADER)

    def error(self, problem: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: {problem}")

    def require(self, nbytes: int, what: str) -> None:
        """Raise CheckpointError unless `nbytes` more bytes are left."""
        left = self.end - self.at
        if nbytes > left:
            limit = f" (a header may have {MAX_HEADER})" if self.end == MAX_HEADER else ""
            raise self.error(
                f"{what} takes at least {nbytes} bytes, and {left} are left{limit}: "
                "the file is cut short or its header is damaged; get it again"
            )

    def take(self, nbytes: int, what: str) -> bytes:
        if nbytes > self.end - self.at:  # `require` is the slow way to ask
            self.require(nbytes, what)
        data = self.file.read(nbytes)
        self.at += len(data)
        if len(data) != nbytes:
            raise self.error(f"the file became shorter while it was read (at {what})")
        return data

    def u32(self, what: str) -> int:
        return int(STRUCT_U32.unpack(self.take(4, what))[0])

    def u64(self, what: str) -> int:
        return int(STRUCT_U64.unpack(self.take(8, what))[0])

    def string(self, what: str) -> str:
        data = self.take(self.u64(what), what)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise self.error(f"{what} is not UTF-8: {data[:40]!r}") from None

    def strings(self, count: int, what: str) -> list[str]:
        """`count` strings. Vocabularies have 100,000: this is `string` without its many calls."""
        self.require(8 * count, what)
        read, integer, at, end = self.file.read, int.from_bytes, self.at, self.end
        items: list[bytes] = []
        for i in range(count):
            nbytes = integer(read(8), "little")
            at += 8 + nbytes
            if at > end:
                raise self.error(
                    f"element {i} of {what} has {nbytes} bytes, which is more than are left: "
                    "the file is cut short or its header is damaged; get it again"
                )
            items.append(read(nbytes))
        self.at = at
        if self.file.tell() != self.at:
            raise self.error(f"the file became shorter while it was read (at {what})")
        try:
            return [item.decode() for item in items]
        except UnicodeDecodeError as error:
            start = shown(bytes(error.object[:40]))
            raise self.error(f"{what} has an element that is not UTF-8: {start}") from None

    def name(self, what: str, most: int) -> str:
        """A string that names something: not empty, not long, no NUL (where C would stop)."""
        name = self.string(what)
        if not name or len(name.encode()) > most or "\0" in name:
            raise self.error(f"{what} must be 1 to {most} bytes without NUL, not {shown(name)}")
        return name

    def numbers(self, kind: int, count: int, what: str) -> np.ndarray:
        """`count` numbers or truth values of the type `kind`; read-only."""
        dtype = NUMBERS[kind]
        values = np.frombuffer(self.take(count * dtype.itemsize, what), dtype)
        if kind != BOOL:
            return values
        if values.size and values.max() > 1:
            raise self.error(f"{what} must be 0 or 1, not {values.max()}")
        return values.astype(bool)

    def value(self, kind: int, what: str) -> Any:
        """One value of metadata: int, float, bool, str, list[str] or an array of numbers."""
        if kind == STRING:
            return self.string(what)
        if kind == ARRAY:
            return self.array(what)
        if kind not in NUMBERS:
            raise self.error(f"{what} has the type {kind}; known are 0 … 12")
        return self.numbers(kind, 1, what)[0].item()

    def array(self, what: str) -> list[str] | np.ndarray:
        kind, count = self.u32(what), self.u64(what)
        if kind == STRING:
            return self.strings(count, what)
        if kind not in NUMBERS:
            raise self.error(f"{what} is an array of the type {kind}, which no Llama file has")
        return self.numbers(kind, count, what)
