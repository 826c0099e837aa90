"""From files that another implementation wrote to a Candidate that can be judged."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...taps import tap_axes, tap_names
from ..record.bundle import Bundle
from ..replay.metrics import relative_rms
from ..replay.precision import check_dtype
from ..replay.rows import by_key, place, rows_of, tap_shape
from .candidate import Candidate
from .files import Given, read_given
from .names import Translate, find_names
from .normalise import CLEARLY, listed, readings


def joined_steps(
    name: str, flat: np.ndarray, shape: tuple[int, ...], steps: Iterable[int], keys: int
) -> np.ndarray | None:
    """Scores or probs of consecutive steps, (H, L, S) each, one after the other in a raw file.

    keys: S of every step, for implementations that always look at a whole cache; 0: S is as many
    rows as there are so far. None if the file is not as long as those, or has values at keys that
    there are not yet.
    """
    H, T = shape[0], shape[1]
    joined = np.zeros(shape, flat.dtype)
    start = at = 0
    for L in steps:
        S = keys or start + L
        step = flat[at : at + H * L * S]
        if S < start + L or step.size < H * L * S:
            return None
        step = step.reshape(H, L, S)
        if step[:, :, start + L :].any():
            return None
        place(name, step[:, :, : start + L], start, joined)
        start, at = start + L, at + step.size
    return joined if at == flat.size and start == T else None


def shaped(bundle: Bundle, name: str, flat: np.ndarray) -> np.ndarray:
    """A raw file's numbers in the shape that its tap has, for as many rows as there are."""
    T = len(bundle.schedule.tokens)
    shape = tap_shape(name, bundle.config, T)
    if by_key(name):
        if flat.size == np.prod(shape):
            return flat.reshape(shape)
        for steps in (bundle.schedule.steps, (1,) * T):
            for keys in (0, flat.size // (shape[0] * T)):
                joined = joined_steps(name, flat, shape, steps, keys)
                if joined is not None:
                    return joined
        return flat
    row = int(np.prod(shape[1:]))
    return flat if flat.size % row else flat.reshape(-1, *shape[1:])


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


def only_the_prompt(bundle: Bundle, name: str, array: np.ndarray) -> np.ndarray | None:
    """A tap that has the prompt's rows and no more, with our axes; None if it is not that."""
    P, T = bundle.schedule.prompt, len(bundle.schedule.tokens)
    if array.dtype.kind != "f" or P == T:
        return None
    shape = tap_shape(name, bundle.config, P)
    reading = next(readings(array, shape, tap_axes(name)), None)
    if reading is None:
        return None
    got = reading[1]
    if by_key(name):
        got = np.concatenate([got, np.zeros((*got.shape[:2], T - P), got.dtype)], axis=-1)
    golden = bundle.values[name]
    first, last = rows_of(name, golden, slice(0, P)), rows_of(name, golden, slice(T - P, T))
    # As many rows may also be the last ones, of a candidate that began with another token.
    if relative_rms(got, last) < CLEARLY * relative_rms(got, first):
        return None
    return got


def without_decode(bundle: Bundle, candidate: Candidate) -> Candidate:
    """The candidate with its rows named, where it has those of the prompt alone."""
    found = {}
    for name, array in candidate.values.items():
        if name in bundle.values and array.size != bundle.config.vocab_size:
            got = only_the_prompt(bundle, name, array)
            if got is not None:
                found[name] = got
    if not found:
        return candidate
    P = bundle.schedule.prompt
    note = f"only the {P} rows of the prompt, decode steps are not judged: {listed(found)}"
    return dataclasses.replace(
        candidate,
        values={**candidate.values, **found},
        rows=dict.fromkeys(found, range(P)),
        notes=(*candidate.notes, note),
    )


def notes_on(bundle: Bundle, given: Given, translated: dict[str, str]) -> list[str]:
    """What the reader itself has to say."""
    notes = []
    ours = [f"{theirs} is {tap}" for theirs, tap in translated.items() if theirs != tap]
    if ours:
        notes.append(f"names: {listed(ours)}")
    tokens = given.ids.get("tokens")
    if tokens is not None and tokens != list(bundle.schedule.tokens):
        notes.append(
            f"it says that it was run on other tokens ({len(tokens)}: {listed(map(str, tokens))}) "
            f"than the golden ({len(bundle.schedule.tokens)})"
        )
    if given.ignored:
        notes.append(f"files that hold no taps, ignored: {listed(given.ignored)}")
    return notes


def as_candidate(
    bundle: Bundle, given: Given, dtype: str | None, translate: Translate
) -> Candidate:
    """What was found, under our names and in the shapes that our taps have."""
    taps = tap_names(bundle.config.n_layers)
    ours = our_names([*given.arrays, *given.scalars], taps, translate)
    values = {}
    for name, array in given.arrays.items():
        tap = ours[name]
        raw = name in given.raw and tap in bundle.values
        values[tap] = shaped(bundle, tap, array) if raw else array
    candidate = Candidate(
        values=values,
        dtype=check_dtype(dtype or default_dtype(given.dtypes)),
        scalars={ours[name]: parts for name, parts in given.scalars.items()},
        greedy=given.ids.get("greedy"),
        notes=tuple(notes_on(bundle, given, ours)),
    )
    return without_decode(bundle, candidate)


def read_candidate(
    path: Path, bundle: Bundle, dtype: str | None = None, names: str | None = None
) -> Candidate:
    """What another implementation left in a file or a directory.

    dtype: what it computed in (default: what its files are stored as, at most float32). names: a
    table of names.TABLES, or a JSON file from its names to ours. Raises InputError or
    CheckpointError for what cannot be read.
    """
    translate = find_names(names)
    taps = tap_names(bundle.config.n_layers)
    given = read_given(path, lambda name: name in taps or translate(name) in taps)
    return as_candidate(bundle, given, dtype, translate)


# NumPy's and PyTorch's names of dtypes that files have under others.
STORED_AS = {"torch.bfloat16": "BF16", "float16": "F16", "torch.float16": "F16"}


def candidate_of(
    tensors: Mapping[str, Any],
    bundle: Bundle,
    dtype: str | None = None,
    names: str | None = None,
) -> Candidate:
    """What another implementation has in memory: arrays of NumPy, tensors of PyTorch, lists.

    The same as `read_candidate` for a file of these. Raises InputError for what is no array.
    """
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
    return as_candidate(bundle, given, dtype, find_names(names))
