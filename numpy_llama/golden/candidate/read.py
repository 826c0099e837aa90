"""Read a candidate: from the files that another implementation wrote, or from its arrays."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...taps import tap_names
from ...wording import listed
from .candidate import Candidate
from .files import Given, read_given
from .names import Translate, find_names

# NumPy's and PyTorch's names of dtypes that files have under others.
STORED_AS = {"torch.bfloat16": "BF16", "float16": "F16", "torch.float16": "F16"}

MANY_LAYERS = 1000  # more than any model has: where it is not known how many this one has


def our_names(names: Iterable[str], taps: Iterable[str], translate: Translate) -> dict[str, str]:
    """Of each name, our tap. Raises InputError where two names are of the same."""
    known = set(taps)
    ours: dict[str, str] = {}
    for name in dict.fromkeys(names):
        tap = name if name in known else translate(name) or name
        if tap in ours.values() and tap in known:
            other = next(theirs for theirs, of in ours.items() if of == tap)
            raise InputError(f"{other} and {name} are both {tap}: give one of them")
        ours[name] = tap
    return ours


def default_dtype(stored: set[str]) -> str:
    """What the files say that the candidate computed in; float32 where they do not."""
    if "BF16" in stored:
        return "bfloat16"
    return "float16" if "F16" in stored else "float32"


def notes_on(given: Given, ours: Mapping[str, str]) -> list[str]:
    """Which names were translated, and which files held nothing."""
    translated = [f"{theirs} is {tap}" for theirs, tap in ours.items() if theirs != tap]
    notes = [f"names: {listed(translated)}"] if translated else []
    if given.ignored:
        notes.append(f"files that hold no taps, ignored: {listed(given.ignored)}")
    return notes


def given_in_memory(tensors: Mapping[str, Any]) -> Given:
    """Arrays of NumPy, tensors of PyTorch, lists. Raises InputError for what is no array."""
    given = Given()
    for name, tensor in tensors.items():
        stored = STORED_AS.get(str(getattr(tensor, "dtype", "")), "F32")
        if hasattr(tensor, "detach"):  # PyTorch: off its graph and device; NumPy has no bfloat16
            tensor = tensor.detach().cpu()
            tensor = tensor.float() if stored == "BF16" else tensor
        try:
            array = np.asarray(tensor)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name}: is no array: {error}") from None
        given.add(name, array, "F32" if stored == "BF16" else stored, "tensors")
        given.dtypes.add(stored)
    return given


def read_candidate(
    source: str | Path | Mapping[str, Any],
    n_layers: int | None = None,
    dtype: str | None = None,
    names: str | None = None,
) -> Candidate:
    """What another implementation left in a file or a directory, or has in memory.

    source: a path, or arrays by name (NumPy's, PyTorch's, lists). n_layers: of the model, whose
    taps they are (None: not known). dtype: what it computed in (default: what it is stored as, at
    most float32).
    names: a table of names.TABLES, or a JSON file from its names to ours. Raises InputError or
    CheckpointError for what cannot be read.
    """
    translate, taps = find_names(names), set(tap_names(n_layers or MANY_LAYERS))
    if isinstance(source, Mapping):
        given = given_in_memory(source)
    else:
        given = read_given(Path(source), lambda name: name in taps or translate(name) in taps)
    ours = our_names([*given.arrays, *given.scalars], taps, translate)
    tokens = given.ids.get("tokens")
    return Candidate(
        values={ours[name]: array for name, array in given.arrays.items()},
        dtype=dtype or default_dtype(given.dtypes),
        scalars={ours[name]: parts for name, parts in given.scalars.items()},
        greedy=given.ids.get("greedy"),
        notes=tuple(notes_on(given, ours)),
        flat=frozenset(ours[name] for name in given.raw),
        tokens=None if tokens is None else tuple(tokens),
    )
