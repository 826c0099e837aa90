"""Mutations of valid files, and what reading one may cost. One bad file: tests/malformed/limits."""

import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from numpy_llama.errors import LlamaError
from numpy_llama.formats.checkpoint import Checkpoint

EXAMPLES = int(os.environ.get("LLAMA_NP_FUZZ", "500"))  # mutations of each format


@contextmanager
def swift(seconds: float = 1.0) -> Iterator[None]:
    """Fail if the block takes longer."""
    start = time.perf_counter()
    yield
    took = time.perf_counter() - start
    assert took < seconds, f"{took:.2f} s"


@contextmanager
def frugal(megabytes: int = 64) -> Iterator[None]:
    """Fail if the block allocates more at its peak. Tracing is slow: measure time without it."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes << 20, f"{peak >> 20} MB"


def load_or_refuse(read: Callable[[Path], Checkpoint], path: Path) -> bool:
    """Whether a file is read and all its tensors load; anything else must be a LlamaError."""
    try:
        checkpoint = read(path)
        for name, tensor in checkpoint.tensors.items():
            array = tensor.load()
            assert array.shape == tensor.shape, name
    except LlamaError:
        return False
    return True


@st.composite
def mutations(draw: st.DrawFn, original: bytes) -> bytes:
    """`original` with some bytes changed, a piece cut out, repeated, or the end lost."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        count = draw(st.integers(1, 16))
        match draw(st.sampled_from(["flip", "set", "number", "cut", "repeat", "insert", "end"])):
            case "flip":
                data[at : at + 1] = bytes(b ^ (1 << count % 8) for b in data[at : at + 1])
            case "set":
                data[at : at + 1] = bytes([draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))])
            case "number":
                width = draw(st.sampled_from([2, 4, 8]))
                value = draw(st.sampled_from([0, 1, (1 << 8 * width) - 1, 1 << (8 * width - 1)]))
                data[at : at + width] = value.to_bytes(width, "little")
            case "cut":
                del data[at : at + count]
            case "repeat":
                data[at:at] = data[at : at + count]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=16))
            case "end":
                del data[at:]
    return bytes(data)
