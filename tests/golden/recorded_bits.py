"""Run as a program: record goldens, and save all their values as one array of float32.

The law of goldens is that these bits depend on neither the kernel of the BLAS nor its threads:
of a million values, one may lie so near the middle of two float32 that it is rounded to the other.
`python -m tests.golden.recorded_bits OUT.npy [MODEL]`: a model with dimensions large enough that
the kernels sum in different orders, a case of the kit, and MODEL if it is given.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from numpy_llama import load_model
from numpy_llama.golden import Bundle, load, record
from numpy_llama.golden.kit.cases import CASES
from numpy_llama.golden.kit.kit import write_kit
from numpy_llama.loading.blas import blas_kernel
from tests.models import random_model, random_tokens, tiny_config

ROOT = Path(__file__).resolve().parents[2]


def goldens(place: Path, model: Path | None) -> Iterator[Bundle]:
    """Two goldens of small models, and one of `model`. `place` is a path for a kit."""
    config = tiny_config(dim=192, n_heads=6, head_dim=32, hidden_dim=512, vocab_size=997)
    wide = random_model(config, dtype=np.float32)
    yield record(wide, random_tokens(config, 60), 4, detect=False)
    write_kit(place, [case for case in CASES if case.name == "gqa"], detect=False)
    yield load(place / "gqa" / "golden")
    if model is not None:
        yield record(load_model(model), [504, 3575, 282, 4649, 314], 3, detect=False)


def save_bits(output: Path, model: Path | None) -> None:
    """Record, save, and say for which CPU the BLAS really computed."""
    found = goldens(output.with_suffix(".kit"), model)
    arrays = [array.reshape(-1) for golden in found for array in golden.values.values()]
    np.save(output, np.concatenate(arrays))
    print(blas_kernel())


def recorded_by_a_child(output: Path, *model: Path, **settings: str) -> tuple[np.ndarray, str]:
    """The bits, and the kernel, of a process of its own: the BLAS reads its settings only once."""
    command = [sys.executable, "-m", "tests.golden.recorded_bits", str(output), *map(str, model)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | settings
    done = subprocess.run(
        command, env=environment, check=True, cwd=ROOT, capture_output=True, text=True
    )
    return np.load(output), done.stdout.strip()


def ulps_apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many float32 lie between two arrays, value by value."""

    def ordered(x: np.ndarray) -> np.ndarray:
        bits = x.view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)

    return np.abs(ordered(a) - ordered(b))


def lawful(apart: np.ndarray) -> bool:
    """Whether two recordings that are so far apart are the same golden."""
    return bool(apart.max() <= 1 and (apart > 0).sum() <= 1 + apart.size // 1_000_000)


if __name__ == "__main__":
    save_bits(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
