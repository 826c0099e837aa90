"""Safetensors: a length, a JSON header, and the bytes of the tensors, one after the other.

    8 bytes   the header's length n, little-endian
    n bytes   {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
    the rest  the tensors: no gap, no overlap, nothing after them

The reader checks all of that before it makes a view, and copies nothing: an array is the file,
mapped. https://github.com/huggingface/safetensors#format
"""

import hashlib
import json
import math
import mmap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...errors import CheckpointError
from ..checkpoint import StoredTensor
from ..storage.files import check_whole, foreign_content, map_file, writing
from ..storage.strict_json import parse_json, shown

MAX_HEADER = 100_000_000  # bytes; the format's own limit
MAX_NAME = 1_000
MAX_DIMS = 64  # NumPy's limit

# Bits of one element. F4 and F6 are packed without padding.
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}

# What a weight may be, and the array that it becomes; bfloat16 stays its bits.
ARRAYS: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}


@dataclass(frozen=True)
class Entry:
    """What the header says of one tensor; its bytes are [start, stop) of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def whole_numbers(value: object) -> bool:
    """Whether a JSON value is a list of whole numbers, none negative (True is not a number)."""
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def check_name(name: str, where: str) -> None:
    """Raise CheckpointError unless a tensor's name could be printed, and is not absurdly long."""
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise CheckpointError(f"{where}: {shown(name)} is not a name for a tensor")


def parse_entry(name: str, spec: Any, data_start: int, where: str) -> Entry:
    """Check one entry of the header by itself: its fields, and that the bytes fit the shape."""
    where = f"{where}: tensor {shown(name)}"
    if not isinstance(spec, dict) or spec.keys() != {"dtype", "shape", "data_offsets"}:
        found = sorted(spec) if isinstance(spec, dict) else spec
        raise CheckpointError(f"{where}: needs dtype, shape and data_offsets, has {shown(found)}")
    dtype, shape, offsets = spec["dtype"], spec["shape"], spec["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise CheckpointError(f"{where}: has the unknown dtype {shown(dtype)}")
    if not whole_numbers(shape) or len(shape) > MAX_DIMS:
        raise CheckpointError(
            f"{where}: shape must be at most {MAX_DIMS} whole numbers, not {shown(shape)}"
        )
    if not whole_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(
            f"{where}: data_offsets must be a start and an end, not {shown(offsets)}"
        )
    bits = math.prod(shape) * BITS[dtype]  # Python's integers: this cannot wrap around
    if bits != 8 * (offsets[1] - offsets[0]):
        raise CheckpointError(
            f"{where}: {dtype} of shape {shown(shape)} is {bits / 8:.15g} bytes, "
            f"but data_offsets {offsets} hold {offsets[1] - offsets[0]}"
        )
    return Entry(dtype, tuple(shape), data_start + offsets[0], data_start + offsets[1])


def check_layout(entries: Mapping[str, Entry], start: int, size: int, where: str) -> None:
    """Raise CheckpointError unless the tensors fill [start, size) without gap or overlap."""
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.stop > size:
            raise CheckpointError(
                f"{where}: tensor {shown(name)} ends at byte {entry.stop}, the file at {size}: "
                "it is cut short; download it again"
            )
        if entry.start != start:
            what = "overlaps the tensor before it" if entry.start < start else "follows a gap"
            raise CheckpointError(
                f"{where}: tensor {shown(name)} {what}: "
                f"it starts at byte {entry.start}, not {start}"
            )
        start = entry.stop
    if start != size:
        raise CheckpointError(f"{where}: {size - start} bytes follow the last tensor")


def check_metadata(value: object, where: str) -> dict[str, str]:
    """`__metadata__` is a flat table of strings, or absent."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise CheckpointError(f"{where}: __metadata__ must be names and texts, not {shown(value)}")
    return value


def header_end(data: mmap.mmap, where: str) -> int:
    """Where the header ends and the tensors begin, once the length before it makes sense."""
    size = len(data)
    length = int.from_bytes(data[:8], "little")
    foreign = foreign_content(data[:64])
    if size >= 8 and 2 <= length <= min(MAX_HEADER, size - 8) and data[8:9] == b"{":
        return 8 + length
    if foreign:
        raise CheckpointError(f"{where}: is {foreign}")
    if size < 8:
        raise CheckpointError(f"{where}: has {size} bytes; a safetensors file has at least 10")
    if length > MAX_HEADER:
        raise CheckpointError(
            f"{where}: says that its header has {length} bytes; the limit is {MAX_HEADER}. "
            "It is not a safetensors file, or it is damaged"
        )
    if length > size - 8:
        raise CheckpointError(
            f"{where}: is cut short: its header has {length} bytes, the file {size}"
        )
    raise CheckpointError(f"{where}: its header does not begin with {{, so it is not safetensors")


def parse_header(data: mmap.mmap, where: str) -> tuple[dict[str, Entry], dict[str, str]]:
    """Every rule of the format, on a mapped file: the entries by name, and the metadata."""
    start = header_end(data, where)
    with memoryview(data) as content, content[8:start] as raw:
        header = parse_json(raw, f"{where}: its header", CheckpointError)
    metadata = check_metadata(header.pop("__metadata__", {}), where)
    entries = {}
    for name, spec in header.items():
        check_name(name, where)
        entries[name] = parse_entry(name, spec, start, where)
    check_layout(entries, start, len(data), where)
    return entries, metadata


def read_header(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """The entries and the metadata of a file, all of the format's rules checked."""
    with map_file(path) as data:
        return parse_header(data, str(path))


def view(path: Path, data: mmap.mmap, name: str, entry: Entry) -> np.ndarray:
    """One tensor as an array over the map; copied only if its bytes are not aligned for the CPU."""
    if entry.dtype not in ARRAYS:
        known = ", ".join(ARRAYS)
        raise CheckpointError(f"{path}: tensor {shown(name)} is {entry.dtype}; weights are {known}")
    check_whole(path, data)
    dtype, count = ARRAYS[entry.dtype], math.prod(entry.shape)
    if count == 0:  # NumPy refuses an empty view at the very end of a file
        return np.empty(entry.shape, dtype)
    array = np.frombuffer(data, dtype, count, entry.start).reshape(entry.shape)
    return array if array.flags.aligned else array.copy()


def read_file(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file by name, in the order of its header. Nothing but the header is read."""
    data = map_file(path)
    entries, _ = parse_header(data, str(path))

    def stored(name: str, entry: Entry) -> StoredTensor:
        return StoredTensor(
            entry.shape,
            entry.dtype,
            entry.stop - entry.start,
            lambda: view(path, data, name, entry),
        )

    return {name: stored(name, entry) for name, entry in entries.items()}


# What can be written: a name, a dtype, a shape, and the array, or a function that makes it.
Written = tuple[str, str, tuple[int, ...], np.ndarray | bytes | Callable[[], np.ndarray | bytes]]


def make_header(tensors: Iterable[Written], metadata: Mapping[str, str]) -> bytes:
    """The length and the header of a file of these tensors; its data begins at a multiple of 8."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, dtype, shape, _ in tensors:
        if name in header or name == "__metadata__":
            raise ValueError(f"tensor {name} is given twice, or has a reserved name")
        stop = offset + math.prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, stop]}
        offset = stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def content_of(tensor: Written) -> bytes | memoryview:
    """The bytes of a tensor as the file has them; an array's are not copied if they lie so."""
    name, dtype, shape, source = tensor
    data = source() if callable(source) else source
    if isinstance(data, np.ndarray):
        if data.dtype != ARRAYS[dtype] or data.shape != shape:
            raise ValueError(f"tensor {name} is {data.dtype} {data.shape}, not {dtype} {shape}")
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
    if len(data) != math.prod(shape) * BITS[dtype] // 8:
        raise ValueError(f"tensor {name} has {len(data)} bytes, not those of its shape")
    return data


def write_content(file: BinaryIO, digest: Any, content: bytes | memoryview) -> None:
    """Write and digest the bytes of one tensor."""
    file.write(content)
    digest.update(content)


def write_file(path: Path, tensors: Iterable[Written], metadata: Mapping[str, str]) -> str:
    """Write a file whole or not at all, one tensor in memory at a time; returns its sha256.

    A tensor that is given as a function is made when its turn comes. bfloat16 is given as uint16.
    """
    tensors = list(tensors)
    digest = hashlib.sha256()
    with writing(path) as file:
        write_content(file, digest, make_header(tensors, metadata))
        for tensor in tensors:
            write_content(file, digest, content_of(tensor))
    return digest.hexdigest()
