"""Attention over a float16 cache as llama.cpp computes it by default, on the CPU."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from ....attention import softmax
from ....taps import Tap, no_tap
from ...replay.precision import round_to_float16
from ..attention.parts import Attention
from ..fault import as_array_of


def half(x: np.ndarray) -> np.ndarray:
    """Each value to the nearest float16; the dtype and the kind of array stay."""
    return as_array_of(round_to_float16(np.asarray(x)), x)


def running(scores: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The largest score m so far, Σ e^(s - m), and Σ e^(s - m) v in float16, key after key."""
    highest, total = np.full_like(scores[..., :1], -math.inf), np.zeros_like(scores[..., :1])
    summed = np.zeros_like(scores[..., :1] * values[:, :1])  # (H, L, hd)
    for j in range(scores.shape[-1]):
        score = scores[..., j : j + 1]
        now = np.maximum(highest, score)
        with np.errstate(invalid="ignore"):  # ∞ - ∞, where all keys so far are hidden
            shrink = np.where(now == highest, 1, np.exp(highest - now))
            weight = np.where(np.isinf(score), 0, np.exp(score - now))
        summed = half(half(summed * shrink) + weight * values[:, j : j + 1])
        highest, total = now, total * shrink + weight
    return highest, total, summed


@dataclass(frozen=True)
class RunningInFloat16(Attention):
    """llama.cpp's flash attention: the sum of the values is kept in float16, key after key.

    Many queries at once are worth tiles of float32, where the cache alone is narrow; and a single
    one over many keys is shared among threads, each with a sum of its own.
    """

    threads: int = 1

    def __call__(
        self, q: np.ndarray, k: np.ndarray, v: np.ndarray, tap: Tap = no_tap
    ) -> np.ndarray:
        if len(q) < 64:
            return super().__call__(half(q), half(k), half(v), tap)
        parts = {f.name: getattr(self, f.name) for f in dataclasses.fields(Attention)}
        return Attention(**parts)(q, half(k), half(v), tap)

    def average(self, scores: np.ndarray, values: np.ndarray, tap: Tap) -> np.ndarray:
        tap("probs", softmax(scores))
        _, L, S = scores.shape
        room = -(-S // 256) * 256  # the cache is looked at in blocks of 256 positions
        size = room // self.threads if L == 1 and room >= 512 else S
        parts = range(0, S, size)
        sums = [running(scores[..., i : i + size], values[:, i : i + size]) for i in parts]
        highest = scores.max(axis=-1, keepdims=True)
        shares = [np.exp(high - highest) for high, _, _ in sums]
        total = sum(share * one for share, (_, one, _) in zip(shares, sums, strict=True))
        return sum(share * one for share, (_, _, one) in zip(shares, sums, strict=True)) / total
