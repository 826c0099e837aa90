"""Mistakes in what RoPE turns: queries and keys, and nothing else."""

from collections.abc import Callable

import numpy as np

from ....kv_cache import LayerCache
from ....model import Llama
from ....parameters import LayerWeights
from ....rope import (
    rotate,
)
from ....taps import Tap
from ..fault import Change, Fault, stage


def rotating(
    turn_q: Callable[[np.ndarray, np.ndarray], np.ndarray],
    turn_k: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Change:
    """The fault of a model that rotates queries and keys by these functions of (x, R)."""

    class Rotating(Llama):
        def turn(
            self, q: np.ndarray, k: np.ndarray, R: np.ndarray, tap: Tap
        ) -> tuple[np.ndarray, np.ndarray]:
            q, k = turn_q(q, R), turn_k(k, R)
            tap("q_rot", q)
            tap("k_rot", k)
            return q, k

    return stage(Rotating)


def leave(x: np.ndarray, R: np.ndarray) -> np.ndarray:
    """No rotation."""
    return x


class RotatedValues(LayerCache):
    """A layer's cache that rotates the values which are written to it."""

    def __init__(self, seen: LayerCache, R: np.ndarray):
        vars(self).update(vars(seen))
        self.seen, self.R = seen, R

    def write(self, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.seen.write(k, rotate(v, self.R))


class AlsoValues(Llama):
    def multi_head(
        self, x: np.ndarray, layer: LayerWeights, R: np.ndarray, seen: LayerCache, tap: Tap
    ) -> np.ndarray:
        return super().multi_head(x, layer, R, RotatedValues(seen, R), tap)


FAULTS = (
    Fault(
        "rope-missing",
        "rope",
        "RoPE is not applied.",
        "q_rot = q, k_rot = k",
        "",
        "Rotate queries and keys after their projections.",
        rotating(leave, leave),
    ),
    Fault(
        "rope-q-only",
        "rope",
        "RoPE is applied to the queries and not to the keys.",
        "k_rot = k",
        "",
        "Rotate the keys too, before they go to the cache.",
        rotating(rotate, leave),
    ),
    Fault(
        "rope-k-only",
        "rope",
        "RoPE is applied to the keys and not to the queries.",
        "q_rot = q",
        "",
        "Rotate the queries too.",
        rotating(leave, rotate),
    ),
    Fault(
        "rope-on-v",
        "rope",
        "RoPE is applied to the values as well.",
        "v is rotated as k is, after the tap v",
        "",
        "Rotate queries and keys only; values carry no position.",
        stage(AlsoValues),
    ),
)
