"""Arrays as one short text: each in as few bytes as its use needs, then gzip, then base64.

A browser unpacks it with DecompressionStream; `unpack` here does the same, for tests.
"""

import base64
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

ALIGN = 4  # a typed array of a browser begins at a multiple of the size of its items


@dataclass(frozen=True)
class Packed:
    """blob: base64; index: of each array its type, its place in bytes, its shape; and its scales'.

    The types: f2, f4: as in NumPy; u4: whole numbers; i1: rows of whole numbers up to 127, each to
    be multiplied by the scale of its row.
    """

    blob: str
    index: dict[str, dict[str, Any]]


def rows_to_int8(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row in steps of a 127th of its largest value: whole numbers, and the size of a step.

    A scale a row, since one feature of one token may be a thousand times as large as all others.
    """
    scale = np.abs(array).max(axis=-1) / 127
    safe = np.where(scale > 0, scale, 1)[..., None]
    return np.rint(array / safe).astype(np.int8), scale.astype(np.float32)


def pack(arrays: Mapping[str, tuple[str, np.ndarray]]) -> Packed:
    """Pack arrays, each given with the type that it is kept in. The same arrays: the same text."""
    index: dict[str, dict[str, Any]] = {}
    parts: list[bytes] = []

    def add(name: str, kind: str, array: np.ndarray) -> None:
        # Little-endian, as every browser's machine is.
        raw = np.ascontiguousarray(array, dtype=f"<{kind}").tobytes()
        index[name] = {"type": kind, "at": sum(map(len, parts)), "shape": list(array.shape)}
        parts.append(raw + bytes(-len(raw) % ALIGN))

    for name, (kind, array) in arrays.items():
        if kind == "i1":
            array, scale = rows_to_int8(array)
            add(f"{name}.scale", "f4", scale)
        add(name, kind, array)
    # mtime=0: the same bytes tomorrow.
    blob = gzip.compress(b"".join(parts), 6, mtime=0)
    return Packed(base64.b64encode(blob).decode(), index)


def unpack(packed: Packed) -> dict[str, np.ndarray]:
    """The arrays again, to the precision of their types, without the scales."""
    raw = gzip.decompress(base64.b64decode(packed.blob))
    arrays: dict[str, np.ndarray] = {}
    for name, entry in packed.index.items():
        shape, kind = entry["shape"], np.dtype(f"<{entry['type']}")
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(raw, kind, count, entry["at"]).reshape(shape)
    for name in [name for name in arrays if name.endswith(".scale")]:
        scaled = name.removesuffix(".scale")
        arrays[scaled] = arrays[scaled] * arrays.pop(name)[..., None]
    return arrays
