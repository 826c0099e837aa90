"""How many threads the linear algebra has: known before NumPy is imported, for then it is too late.

The number depends on the model, the machine and what the user says, never on the load of the
moment: another number may change the last digit of a logit.
"""

import os
import sys
from pathlib import Path

from ..choices import THREAD_VARIABLES

# Below it a model computes faster on one thread: its products are shorter than the wait for a
# second (measured with llama2.c's stories260K: a third faster; with SmolLM2 slower).
SMALL = 16 << 20  # bytes of weights
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


def suit(model: Path) -> None:
    """One thread for a small model, where nobody has said how many and NumPy is not there yet."""
    if asked_for() is None and "numpy" not in sys.modules and 0 < stored_bytes(model) < SMALL:
        set_threads(1)


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
    """The number that a run has: as set, or one for each core."""
    return asked_for() or cores()
