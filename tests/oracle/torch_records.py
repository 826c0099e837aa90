"""The taps of several steps, put together as one array a tap."""

import numpy as np
import torch
from torch import Tensor

Records = list[dict[str, Tensor]]  # one step each


def joined(records: Records) -> dict[str, np.ndarray]:
    """The rows of all steps as one array a tap; scores and probabilities as (H, T, T).

    Keys that came in later steps are 0. bfloat16 comes as float32, which NumPy has.
    """
    taps = {}
    for name in records[0]:
        parts = [numpy_of(record[name]) for record in records]
        by_key = name.endswith((".scores", ".probs"))
        taps[name] = square(parts) if by_key else np.concatenate(parts)
    return taps


def square(parts: list[np.ndarray]) -> np.ndarray:
    """Blocks (H, L, S), one below the other, as (H, T, T).

    It is wider only where the cache held more rows than it should.
    """
    T = sum(part.shape[1] for part in parts)
    width = max(T, *(part.shape[2] for part in parts))
    padded = [np.pad(part, ((0, 0), (0, 0), (0, width - part.shape[2]))) for part in parts]
    return np.concatenate(padded, 1)


def numpy_of(x: Tensor) -> np.ndarray:
    """A tensor as an array; NumPy has no bfloat16."""
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()
