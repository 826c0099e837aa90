"""A tiny golden on disk, and what implementations with and without a fault leave behind."""

import functools
import tempfile
from pathlib import Path

import numpy as np

from numpy_llama.golden import Candidate, Report, check
from numpy_llama.golden.faults import CATALOGUE
from numpy_llama.golden.record.bundle import Bundle, load
from numpy_llama.golden.record.record import record
from numpy_llama.golden.replay.precision import in_dtype
from numpy_llama.golden.replay.replay import run
from numpy_llama.loading.weights import load_model
from tests.tiny import write_tiny_model


@functools.cache
def folder() -> Path:
    """A directory with a model and a golden of it, which is gone when the tests are."""
    made = tempfile.TemporaryDirectory(prefix="golden-")
    folders.append(made)
    path = Path(made.name)
    write_tiny_model(path / "model")
    prompt = list(range(3, 14))
    bundle = record(load_model(path / "model"), prompt, 3, source=str(path / "model"))
    bundle.save(path / "golden")
    return path


folders: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def golden() -> Bundle:
    """It as it is read back: 11 rows of prompt, 3 decode steps, 3 layers."""
    return load(folder() / "golden")


@functools.cache
def dump(*faults: str, dtype: str = "float32") -> dict[str, np.ndarray]:
    """All taps of an implementation in a dtype with these faults of the catalogue."""
    bundle = golden()
    model, schedule = in_dtype(load_model(folder() / "model"), dtype), bundle.schedule
    for fault in faults:
        model, schedule = CATALOGUE[fault].apply(model, schedule)
    return run(model, schedule)


def write_npy(path: Path, taps: dict[str, np.ndarray]) -> Path:
    """A dump as a directory of NumPy files."""
    path.mkdir()
    for name, array in taps.items():
        np.save(path / f"{name}.npy", array)
    return path


def compare(golden: Bundle, candidate: Candidate | Path, **options: object) -> Report:
    """The verdict on a candidate, without a diagnosis."""
    return check(golden, candidate, name_mistakes=False, **options)  # type: ignore[arg-type]
