"""What the weights of a run take in memory, and what there is: known before any is loaded."""

import ctypes
import math
import re
from dataclasses import dataclass
from pathlib import Path

from ..config import LlamaConfig
from ..formats.checkpoint import expected_shapes


@dataclass(frozen=True)
class Need:
    """Bytes of weights in memory, in the dtype of the computation.

    resident: all of them. streamed: what is outside of the blocks, the blocks' vectors, and two
    matrices: the one in use, and the next. A float32 file is used where it lies, so that the
    system can take its part of `resident` back.
    """

    resident: int
    streamed: int


def weight_memory(config: LlamaConfig, itemsize: int = 4) -> Need:
    """What running a model of this config needs; `itemsize` is 4 for float32, 8 for float64."""
    sizes = [(name, math.prod(shape), len(shape)) for name, shape in expected_shapes(config)]
    total = sum(size for _, size, _ in sizes)
    matrices = [size for name, size, axes in sizes if name.startswith("layers.") and axes == 2]
    return Need(itemsize * total, itemsize * (total - sum(matrices) + 2 * max(matrices)))


def free_memory() -> int | None:
    """Bytes that a program can have, caches that the system would give up included.

    None where the system does not say it as Linux does.
    """
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"^MemAvailable: +(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def keep_freed_memory() -> None:
    """Ask the C library to keep up to 512 MiB of what is freed, instead of giving it back.

    A prefill takes and frees arrays of megabytes hundreds of times; each time the system would
    take the pages away, and clear new ones: measured, a fifth of the time of 512 tokens. Arrays
    over 64 MiB, such as caches, still come from the system, cleared when touched. This is for a
    whole process, so the commands ask, not the library. Nothing happens without glibc.
    """
    trim_threshold, mmap_threshold = -1, -3  # names of glibc's malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # Windows, musl, macOS
        return
    mallopt(mmap_threshold, 64 << 20)
    mallopt(trim_threshold, 512 << 20)


def human(n: int) -> str:
    """Bytes for people: 513.1 MiB."""
    size = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
