"""The shape of a raw file, which says none: a line of numbers, as rows of its tap."""

from collections.abc import Iterable

import numpy as np

from ..replay.schedule import Schedule

Shape = tuple[int, ...]
Axes = tuple[str, ...]


def joined_steps(
    flat: np.ndarray, shape: Shape, steps: Iterable[int], keys: int
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
        step, end = step.reshape(H, L, S), start + L
        if step[:, :, end:].any():
            return None
        joined[:, start:end, :end] = step[:, :, :end]
        start, at = end, at + step.size
    return joined if at == flat.size and start == T else None


def shaped(flat: np.ndarray, shape: Shape, axes: Axes, schedule: Schedule) -> np.ndarray:
    """A raw file's numbers in the shape of its tap, (T, …), for as many rows as there are."""
    T = len(schedule.tokens)
    if axes[-1] == "S":
        if flat.size == np.prod(shape):
            return flat.reshape(shape)
        for steps in (schedule.steps, (1,) * T):
            for keys in (0, flat.size // (shape[0] * T)):
                joined = joined_steps(flat, shape, steps, keys)
                if joined is not None:
                    return joined
        return flat
    row = int(np.prod(shape[1:]))
    return flat if flat.size % row else flat.reshape(-1, *shape[1:])
