"""llama2c's .bin, of any version, as a checkpoint."""

import math
import mmap
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...errors import CheckpointError, ConfigError
from ..checkpoint import Checkpoint, StoredTensor, check_tensors, expected_shapes
from ..storage.files import check_whole, map_file, open_regular
from .header import (
    F32,
    HEADER,
    MAGIC,
    Header,
    bytes_of,
    expected_size,
    names_in_order,
    parse_header,
)


def loader(
    path: Path, mapped: mmap.mmap, offset: int, shape: tuple[int, ...], group: int | None
) -> Callable[[], np.ndarray]:
    """What reads one tensor: float32 as it lies in the file, or int8 groups times their scales.

    An int8 has at most 7 bits, a float32 24: the product is rounded once, as runq.c rounds it.
    """
    count = math.prod(shape)

    def load() -> np.ndarray:
        check_whole(path, mapped)
        if group is None:
            return np.ndarray(shape, F32, mapped, offset)
        q = np.ndarray((count // group, group), np.int8, mapped, offset)
        scales = np.ndarray((count // group, 1), F32, mapped, offset + count)
        with np.errstate(all="ignore"):  # a huge or infinite scale shows in the logits, by name
            values: np.ndarray = np.multiply(q, scales, dtype=np.float32)
            return values.reshape(shape)

    return load


def stored_tensors(path: Path, header: Header, mapped: mmap.mmap) -> dict[str, StoredTensor]:
    """Every tensor of a file whose size has been checked."""
    shapes = dict(expected_shapes(header.config))
    tensors: dict[str, StoredTensor] = {}
    offset = header.start
    for name, skipped in names_in_order(header):
        shape = shapes[name]
        offset += skipped
        quantised = header.version == 2 and len(shape) == 2
        load = loader(path, mapped, offset, shape, header.group if quantised else None)
        nbytes = bytes_of(header, shape)
        kind = f"Q8 in groups of {header.group}" if quantised else "F32"
        tensors[name] = StoredTensor(shape, kind, nbytes, load)
        offset += nbytes
    return tensors


def read_header(path: Path) -> Header:
    """The header of a file that has exactly the size that it calls for."""
    with open_regular(path) as file:
        start = file.read(HEADER)
        size = file.seek(0, 2)
    try:
        header = parse_header(start)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except struct.error:
        raise CheckpointError(
            f"{path}: has {size} bytes, which is no header of llama2.c; copy or download it again"
        ) from None
    if size != expected_size(header):
        raise CheckpointError(
            f"{path}: has {size} bytes, and a llama2.c file of this header has "
            f"{expected_size(header)}: it is cut short, damaged or of another format"
        )
    return header


def recognises(path: Path) -> bool:
    """Whether a file has version 1's magic, or seven integers that call for exactly its size."""
    try:
        with open_regular(path) as file:
            if file.read(4) == struct.pack("<I", MAGIC):
                return True
        read_header(path)
    except (CheckpointError, ConfigError, OSError):
        return False
    return True


def read(path: Path) -> Checkpoint:
    """Open a file of any version; nothing but the header is read. ε and θ are llama2.c's own."""
    header = read_header(path)
    tensors = stored_tensors(path, header, map_file(path))
    check_tensors(path, header.config, tensors)
    return Checkpoint(
        path, f"llama2.c version {header.version}", header.config, tensors, "adjacent"
    )
