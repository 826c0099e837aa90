"""How many threads the linear algebra has: known before NumPy is imported, for then it is too late.

The number depends on the model, the machine and what the user says, never on the load of the
moment: another number may change the last digit of a logit.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from ..choices import THREAD_VARIABLES
from .memory import free_memory

# Below it a model computes faster on one thread: its products are shorter than the wait for a
# second (measured with llama2.c's stories260K: a third faster; with SmolLM2 slower).
SMALL = 16 << 20  # bytes of weights
# How many threads of our own share the work, each with a BLAS of one; set by `suit` alone.
OWN = "LLAMA_NP_THREADS"
# How long a thread of OpenBLAS that has nothing to do spins before it sleeps: 2^16 cycles, about
# the time between two products, in place of 2^26. Beside one busy process SmolLM2 is decoded 1.6
# times as fast so; alone, 3 % slower.
SLEEP_SOON = {"OPENBLAS_THREAD_TIMEOUT": "16"}
WEIGHTS = (".safetensors", ".gguf", ".bin", ".pth", ".npz")


def asked_for() -> int | None:
    """The number that the environment, or --threads, has set; None where it sets none."""
    for name in THREAD_VARIABLES:
        value = os.environ.get(name, "")
        if value.isdecimal() and int(value) > 0:
            return int(value)
    return None


def cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(n: int) -> None:
    """Tell every library of linear algebra that may be there."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(n)))


def stored_bytes(model: Path) -> int:
    """The size of a model's files of weights."""
    files = model.iterdir() if model.is_dir() else [model]
    return sum(file.stat().st_size for file in files if file.suffix in WEIGHTS)


def of_16_bits(model: Path) -> bool:
    """Whether the header of a model's first safetensors file has tensors of 16-bit floats."""
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as stored:
            return b'F16"' in stored.read(1 << 16)  # "F16" or "BF16"
    return False


def suit(model: Path, does: str = "") -> None:
    """Threads for a model, where NumPy is not there yet: one for a small one.

    Those of a model of 16-bit floats that will be streamed are our own: so matrices are expanded by
    all of them, where the BLAS would only multiply by all. Likewise where a model that surely fits
    only "reads" a text: see wavefront.py. One that "makes" a text has those of the BLAS: to wake
    one of ours takes as long as a small product. With threadpoolctl ours read its prompt before.
    """
    if "numpy" in sys.modules:
        return
    for name, value in SLEEP_SOON.items():
        os.environ.setdefault(name, value)
    size, free = stored_bytes(model), free_memory()
    if asked_for() is None and 0 < size < SMALL:
        set_threads(1)
    elif free is None:
        return
    elif (does == "reads" and fits(model, size, free)) or (2 * size > free and of_16_bits(model)):
        os.environ[OWN] = str(in_use())
        set_threads(1)
    elif does == "makes" and fits(model, size, free) and find_spec("threadpoolctl"):
        os.environ[OWN] = str(in_use())


def fits(model: Path, size: int, free: int) -> bool:
    """Whether a model is not streamed, whatever its values are: 4 bits in a GGUF, 16 in others."""
    return size > 0 and size * (8 if model.suffix == ".gguf" else 2) < free


def own_threads() -> int:
    """How many threads of our own share the work."""
    value = os.environ.get(OWN, "")
    return max(int(value), 1) if value.isdecimal() else 1


def share(jobs: int | None) -> int:
    """How many jobs a command does at once, of one thread each unless another number was asked for.

    By default as many as there are cores: a job for itself waits less than threads for each other.
    """
    if jobs is None:
        jobs = 1 if asked_for() else cores()
    if jobs > 1 and asked_for() is None and "numpy" not in sys.modules:
        set_threads(1)
    return jobs


def in_use() -> int:
    """The number that a run has: of our own, as set, or one for each core."""
    return max(own_threads(), asked_for() or cores())
