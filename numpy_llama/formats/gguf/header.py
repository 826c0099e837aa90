"""The header of a GGUF file: what the file says of itself, and where its tensors lie.

    "GGUF"  version  tensor count  key count           u32 u32 u64 u64, all little-endian
    metadata, key count times:  key  type  value       string u32 …
    tensors, tensor count times:  name  n  n dims  type  offset       string u32 u64… u32 u64
    padding; then the tensors' bytes, each followed by padding to the alignment

Nothing is believed: every count, length and offset is held against what is left of the file
before anything is made of it. ggml, docs/gguf.md; the offsets must be as llama.cpp wants them,
which is stricter.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import CheckpointError
from ..storage.files import foreign_content, open_regular
from ..storage.strict_json import shown
from .fields import U32, HeaderReader
from .types import TENSOR_TYPES, TensorType

MAX_KEY, MAX_NAME, MAX_DIMS = 65535, 63, 4  # bytes, bytes and axes that the format allows
LEAST_KEY, LEAST_TENSOR = 14, 33  # bytes of the shortest entry of each kind


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

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        """A value of the metadata, or `default`; CheckpointError when it is not just a `kind`."""
        value = self.metadata.get(key, default)
        if value is not None and type(value) is not kind:
            raise CheckpointError(
                f"{self.path}: the metadata {key} must be of the type {kind.__name__}, "
                f"not {type(value).__name__}"
            )
        return value


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
            if kind != U32 or value not in [1 << n for n in range(17)]:
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
