"""Mistakes in what RMSNorm makes of a row with its statistic."""

from collections.abc import Callable

import numpy as np

from ....model import Llama
from ....norm import rms, rms_norm
from ....taps import Tap
from ...replay.precision import round_to_float16
from ..fault import Fault, as_array_of, stage
from .statistic import normed


class WithoutGain(Llama):
    def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
        return super().norm(x, np.ones_like(gain), name, tap)


class OnePlusGain(Llama):
    def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
        return super().norm(x, 1 + gain, name, tap)


class Twice(Llama):
    def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
        statistic = rms(x, self.config.norm_eps)
        tap(f"{name}.rms", statistic)
        once = x / statistic[:, None]
        y = rms_norm(once, gain, rms(once, self.config.norm_eps))
        tap(name, y)
        return y


class Inverted(Llama):
    def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
        return normed(x, gain, 1 / rms(x, self.config.norm_eps), name, tap)


def in_narrow(round_: Callable[[np.ndarray], np.ndarray]) -> type[Llama]:
    """RMSNorm with every operation but the gain rounded: the mean is taken of rounded squares."""

    class InNarrow(Llama):
        def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
            h = round_(np.asarray(x))
            mean = round_(np.mean(round_(h * h), axis=-1))
            inverse = round_(1 / np.sqrt(round_(mean + np.float32(self.config.norm_eps))))
            tap(f"{name}.rms", as_array_of(1 / inverse, x))
            y = as_array_of(round_(h * inverse[:, None]), x) * gain
            tap(name, y)
            return y

    return InNarrow


FAULTS = (
    Fault(
        "norm-weight-missing",
        "norm",
        "The norms' gains are not applied.",
        "y = x / rms(x)",
        "TransformerLens#657: there the gains were folded into the next matrix, which is correct",
        "Multiply each feature by its gain; or fold the gains into the matrices that follow.",
        stage(WithoutGain),
    ),
    Fault(
        "norm-one-plus-weight",
        "norm",
        "The norms multiply by 1 + gain, which is Gemma's convention.",
        "y = x / rms(x) · (1 + g)",
        "transformers#29402, vllm#3653",
        "Llama's gains are stored as they are used: multiply by the gain itself.",
        stage(OnePlusGain),
    ),
    Fault(
        "norm-twice",
        "norm",
        "Each norm is applied twice before its gain; only ε makes that differ from once.",
        "h = x / rms(x);  y = h / rms(h) · g;  the tap rms is that of x",
        "llama.cpp#1925",
        "Normalise once.",
        stage(Twice),
        lambda config: config.norm_eps > 0,
    ),
    Fault(
        "norm-inverted",
        "norm",
        "The norm divides by the inverse root: x / rsqrt instead of x · rsqrt.",
        "y = x · rms(x) · g;  the tap rms is 1 / rms(x)",
        "llm-foundry#371",
        "Multiply by rsqrt(mean(x²) + ε).",
        stage(Inverted),
    ),
    Fault(
        "norm-float16",
        "norm",
        "The norm is computed in float16: input, squares, mean and inverse root are rounded.",
        "h = r(x); m = r(mean(r(h²))); s = r(1/√r(m + ε)); y = r(h·s)·g;  r rounds to float16",
        "minimind#301: the square of 1e-4 is 0 in float16",
        "Compute the norm in float32, and convert its result.",
        stage(in_narrow(round_to_float16)),
        rounds_to="float16",
    ),
)
