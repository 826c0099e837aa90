"""Attention, each part of which can be another."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....attention import causal_mask, softmax
from ....model import Llama
from ....taps import Tap, no_tap
from ...replay.schedule import Schedule
from ..fault import Change

Mask = Callable[[int, int, np.ndarray], np.ndarray]


def repeated(H: int, K: int) -> np.ndarray:
    """The key head of each query head: h // G."""
    return np.arange(H) // (H // K)


@dataclass(frozen=True)
class Attention:
    """`attend`, each part of which can be another."""

    read: Callable[[np.ndarray], np.ndarray] = lambda x: x  # what is made of q, k and v
    scale: Callable[[int], float] = lambda hd: 1 / math.sqrt(hd)
    key_head: Callable[[int, int], np.ndarray] = repeated
    value_head: Callable[[int, int], np.ndarray] = repeated
    mask: Mask = causal_mask
    hidden: float = -math.inf  # what a score becomes where the mask hides it
    normalise: Callable[[np.ndarray], np.ndarray] = softmax
    merge: Callable[[np.ndarray], np.ndarray] = lambda heads: heads.transpose(1, 0, 2)

    def __call__(
        self, q: np.ndarray, k: np.ndarray, v: np.ndarray, tap: Tap = no_tap
    ) -> np.ndarray:
        L, H, hd = q.shape
        K, S, _ = k.shape
        q, k, v = map(self.read, (q, k, v))
        keys, values = k[self.key_head(H, K)], v[self.value_head(H, K)]
        scores = q.transpose(1, 0, 2) @ keys.transpose(0, 2, 1) * self.scale(hd)  # (H, L, S)
        tap("scores", scores)
        seen = np.where(self.mask(L, S, q), scores, self.hidden)
        return self.merge(self.average(seen, values, tap))

    def average(self, scores: np.ndarray, values: np.ndarray, tap: Tap) -> np.ndarray:
        """Of the values, weighted by what becomes of the scores: (H, L, hd)."""
        probs = self.normalise(scores)
        tap("probs", probs)
        return probs @ values


def attention_with(kind: type[Attention] | None = None, **parts: Any) -> Change:
    """The fault of an attention with these parts; `kind`: one that does more in another way."""

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        now = model.attention if isinstance(model.attention, Attention) else Attention()
        given = {f.name: getattr(now, f.name) for f in dataclasses.fields(now)}
        attention = (kind or type(now))(**(given | parts))
        return dataclasses.replace(model, attention=attention), schedule

    return apply
