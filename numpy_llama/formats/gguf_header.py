"""The header of a GGUF file: what the file says of itself, and where its tensors lie.

    "GGUF"  version  tensor count  key count           u32 u32 u64 u64, all little-endian
    metadata, key count times:  key  type  value       string u32 …
    tensors, tensor count times:  name  n  n dims  type  offset       string u32 u64… u32 u64
    padding; then the tensors' bytes, each followed by padding to the alignment

A string is a u64 length and its bytes; an array a u32 type, a u64 count and its elements. Nothing
is believed: every length is held against what is left of the file before anything is made of it.
ggml, docs/gguf.md; the offsets are held to what llama.cpp holds them to, which is stricter.
"""

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..errors import CheckpointError
from .files import foreign_content, open_regular
from .gguf_types import TENSOR_TYPES, TensorType
from .strict_json import shown

MAX_HEADER = 1 << 26  # bytes; a vocabulary of 262,144 tokens and their merges needs 15 million
MAX_KEY, MAX_NAME, MAX_DIMS = 65535, 63, 4  # bytes, bytes and axes that the format allows
LEAST_KEY, LEAST_TENSOR = 14, 33  # bytes of the shortest entry: no count can be above left / this

U32, U64 = struct.Struct("<I"), struct.Struct("<Q")
BOOL, STRING, ARRAY = 7, 8, 9  # types of metadata …
NUMBERS: dict[int, np.dtype] = {  # … and those that NumPy can name
    0: np.dtype("u1"),
    1: np.dtype("i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    BOOL: np.dtype("u1"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}


class TensorInfo(NamedTuple):
    """One tensor: its axes slowest first, as NumPy has them (the file has them the other way)."""

    shape: tuple[int, ...]
    type: TensorType
    offset: int  # from the start of the data
    nbytes: int


@dataclass(frozen=True)
class GGUFHeader:
    """Everything before the data. A metadata array is a list of str, else a NumPy array."""

    path: Path
    size: int  # of the file, in bytes
    version: int
    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]
    alignment: int
    data_start: int


class HeaderReader:
    """The bytes of a header from first to last, and never one more than there are."""

    def __init__(self, path: Path, file: BinaryIO, size: int):
        self.path, self.file, self.size = path, file, size
        self.at = 0

    def error(self, problem: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: {problem}")

    def require(self, nbytes: int, what: str) -> None:
        """Raise CheckpointError unless `nbytes` more bytes are left."""
        if nbytes > self.size - self.at:
            raise self.error(
                f"{what} takes at least {nbytes} bytes where {self.size - self.at} are left: "
                "the file is cut short or its header is damaged; get it again"
            )
        if nbytes > MAX_HEADER - self.at:
            raise self.error(f"the header is longer than {MAX_HEADER} bytes (at {what})")

    def take(self, nbytes: int, what: str) -> bytes:
        if nbytes > min(self.size, MAX_HEADER) - self.at:
            self.require(nbytes, what)
        data = self.file.read(nbytes)
        if len(data) != nbytes:
            raise self.error(f"the file became shorter while it was read (at {what})")
        self.at += nbytes
        return data

    def u32(self, what: str) -> int:
        return U32.unpack(self.take(4, what))[0]

    def u64(self, what: str) -> int:
        return U64.unpack(self.take(8, what))[0]

    def string(self, what: str) -> str:
        data = self.take(U64.unpack(self.take(8, what))[0], what)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise self.error(f"{what} is not UTF-8: {data[:40]!r}") from None

    def strings(self, count: int, what: str) -> list[str]:
        """`count` strings. Vocabularies have 100,000: this is `string` without its many calls."""
        self.require(8 * count, what)
        read, unpack, left = self.file.read, U64.unpack, min(self.size, MAX_HEADER) - self.at
        items: list[bytes] = []
        for _ in range(count):
            left -= 8
            nbytes = unpack(read(8))[0] if left >= 0 else 0
            left -= nbytes
            if left < 0:
                raise self.error(
                    f"element {len(items)} of {what} ends {-left} bytes past the end of the file "
                    f"(or of the {MAX_HEADER} bytes that a header may have)"
                )
            items.append(read(nbytes))
        self.at = min(self.size, MAX_HEADER) - left
        try:
            return [item.decode() for item in items]
        except UnicodeDecodeError as error:
            start = error.object[:40]
            raise self.error(f"{what} has an element that is not UTF-8: {start!r}") from None

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


def read_start(r: HeaderReader) -> tuple[int, int, int]:
    """The version, and how many tensors and keys follow."""
    magic = r.take(4, "the mark 'GGUF'")
    if magic != b"GGUF":
        what = foreign_content(magic + r.file.read(60)) or f"it begins with {magic!r}"
        raise r.error(f"not a GGUF file: {what}")
    version = r.u32("the version")
    if version not in (2, 3):
        big_endian = int.from_bytes(version.to_bytes(4, "little"), "big") in (2, 3)
        problem = "is big-endian" if big_endian else f"has the GGUF version {version}"
        raise r.error(f"the file {problem}; convert the model again to version 2 or 3 of GGUF")
    n_tensors, n_keys = r.u64("the number of tensors"), r.u64("the number of keys")
    r.require(n_keys * LEAST_KEY + n_tensors * LEAST_TENSOR, f"{n_keys} keys, {n_tensors} tensors")
    return version, n_tensors, n_keys


def read_metadata(r: HeaderReader, n_keys: int) -> tuple[dict[str, Any], int]:
    """The metadata, and the alignment of the data: `general.alignment`, or 32."""
    metadata: dict[str, Any] = {}
    alignment = 32
    for i in range(n_keys):
        key = r.name(f"metadata key {i}", MAX_KEY)
        if key in metadata:
            raise r.error(f"the metadata key {shown(key)} is there twice")
        what = f"metadata {shown(key)}"
        kind = r.u32(what)
        metadata[key] = value = r.value(kind, what)
        if key == "general.alignment":
            if NUMBERS.get(kind) != np.dtype("<u4") or value not in [1 << n for n in range(17)]:
                raise r.error(f"{what} must be a u32 and a power of two up to 65536, not {value!r}")
            alignment = value
    return metadata, alignment


def read_tensor(r: HeaderReader, what: str) -> TensorInfo:
    """The axes, the type and the place of one tensor, whose name has been read."""
    n_dims = r.u32(f"{what}'s number of dimensions")
    if not 1 <= n_dims <= MAX_DIMS:
        raise r.error(f"{what} has {n_dims} dimensions; GGUF has 1 … {MAX_DIMS}")
    dims = [r.u64(f"{what}'s dimensions") for _ in range(n_dims)]
    code, offset = r.u32(f"{what}'s type"), r.u64(f"{what}'s offset")
    if code not in TENSOR_TYPES:
        raise r.error(f"{what} has the type {code}, which is unknown or was given up")
    type_ = TENSOR_TYPES[code]
    if 0 in dims or dims[0] % type_.values:
        raise r.error(
            f"{what} has rows of {dims[0]} (dimensions {dims}); "
            f"{type_.name} needs a multiple of {type_.values}, and nothing may be empty"
        )
    nbytes = math.prod(dims) // type_.values * type_.nbytes  # Python's integers cannot overflow
    return TensorInfo(tuple(reversed(dims)), type_, offset, nbytes)


def read_tensors(r: HeaderReader, n_tensors: int) -> dict[str, TensorInfo]:
    tensors: dict[str, TensorInfo] = {}
    for i in range(n_tensors):
        name = r.name(f"the name of tensor {i}", MAX_NAME)
        if name in tensors:
            raise r.error(f"the tensor {shown(name)} is there twice")
        tensors[name] = read_tensor(r, f"tensor {shown(name)}")
    return tensors


def round_up(n: int, alignment: int) -> int:
    return -(-n // alignment) * alignment


def check_layout(header: GGUFHeader) -> None:
    """Raise CheckpointError unless each tensor begins where the one before it ended, padded.

    That excludes overlaps, gaps, disorder and misalignment at once; then the last one must end
    with the file, with or without its padding.
    """
    end = padded_end = 0
    for name, tensor in header.tensors.items():
        if tensor.offset != padded_end:
            raise CheckpointError(
                f"{header.path}: tensor {shown(name)} has the offset {tensor.offset}, "
                f"but the tensors before it end at {padded_end} (alignment {header.alignment})"
            )
        end = tensor.offset + tensor.nbytes
        padded_end = round_up(end, header.alignment)
    held = header.size - header.data_start
    if header.tensors and not end <= held <= padded_end:
        raise CheckpointError(
            f"{header.path}: the tensors take {end} bytes and the file holds {max(held, 0)} for "
            "them: it is cut short, or something was added; get it again"
        )


def read_header(path: Path) -> GGUFHeader:
    """Read and check everything before the data. Raises CheckpointError."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        r = HeaderReader(path, file, size)
        version, n_tensors, n_keys = read_start(r)
        metadata, alignment = read_metadata(r, n_keys)
        tensors = read_tensors(r, n_tensors)
    start = round_up(r.at, alignment)
    header = GGUFHeader(path, size, version, metadata, tensors, alignment, start)
    check_layout(header)
    return header
