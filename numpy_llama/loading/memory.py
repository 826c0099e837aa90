"""What the weights of a run take in memory, and what there is: known before any is loaded."""

import ctypes
import math
import re
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..config import LlamaConfig


@dataclass(frozen=True)
class Need:
    """Bytes of weights in memory, in the dtype of the computation.

    resident: all of them. streamed: all vectors; the matrices outside of the blocks, and one of a
    block, which is expanded whole. Of matrices that are stored as 16-bit floats it is what a thread
    expands of the largest at a time, for one token.

    A float32 file is used where it lies, and the system can take the memory back.
    """

    resident: int
    streamed: int


def weight_memory(config: LlamaConfig, itemsize: int = 4, halves: Collection[str] = ()) -> Need:
    """What running a model of this config needs; `itemsize` is 4 for float32, 8 for float64.

    halves: the names of its tensors that are stored as 16-bit floats.
    """
    from ..formats.checkpoint import expected_shapes  # they bring NumPy: too soon for threads.py
    from .streamed_matrix import block_rows

    shapes = dict(expected_shapes(config))
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    matrices = {name for name, shape in shapes.items() if len(shape) == 2}
    parts = matrices.intersection(halves)
    whole = {name for name in matrices - parts if name.startswith("layers.")}
    kept = sum(size for name, size in sizes.items() if name not in parts | whole)
    columns = {name: shapes[name][1] for name in parts}
    blocks = [min(sizes[name], 2 * block_rows(1, n) * n) for name, n in columns.items()]
    largest = max([sizes[name] for name in whole] + blocks)
    return Need(itemsize * sum(sizes.values()), itemsize * (kept + largest))


def linux_memory() -> int | None:
    """MemAvailable, as the kernel reckons it."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    found = re.search(r"^MemAvailable: +(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def macos_memory() -> int | None:
    """The pages that `vm_stat` calls free, and those that can be had without writing to a disk."""
    done = subprocess.run(["/usr/bin/vm_stat"], capture_output=True, timeout=5, check=True)
    text = done.stdout.decode("utf-8", "replace")
    size = re.search(r"page size of (\d+) bytes", text)
    pages = re.findall(r"^Pages (?:free|inactive|speculative): +(\d+)\.$", text, re.MULTILINE)
    return int(size[1]) * sum(map(int, pages)) if size and pages else None


def windows_memory() -> int | None:
    """ullAvailPhys, the fourth field of MEMORYSTATUSEX: two 32-bit numbers, then seven of 64."""
    status = (ctypes.c_uint64 * 8)(ctypes.sizeof(ctypes.c_uint64) * 8)  # the length comes first
    found = ctypes.windll.kernel32.GlobalMemoryStatusEx(status)  # type: ignore[attr-defined]
    return status[2] if found else None


def free_memory() -> int | None:
    """Bytes that a program can have, caches that the system would give up included.

    None where the system does not say.
    """
    ask = {"win32": windows_memory, "darwin": macos_memory}.get(sys.platform, linux_memory)
    try:
        return ask()
    except (OSError, AttributeError, ValueError, subprocess.SubprocessError):
        return None


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
