"""Mistakes in the statistic by which RMSNorm divides."""

from collections.abc import Callable

import numpy as np

from ....config import LlamaConfig
from ....model import Llama
from ....norm import rms, rms_norm
from ....taps import Tap
from ..fault import Fault, config_with, stage


def normed(
    x: np.ndarray, gain: np.ndarray, statistic: np.ndarray, name: str, tap: Tap
) -> np.ndarray:
    """What Llama.norm does once it has its statistic."""
    tap(f"{name}.rms", statistic)
    y = rms_norm(x, gain, statistic)
    tap(name, y)
    return y


def other_eps(eps: float) -> Callable[[LlamaConfig], bool]:
    """Whether the model has another ε."""
    return lambda config: config.norm_eps != eps


class EpsOutside(Llama):
    def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
        return normed(x, gain, rms(x, 0.0) + self.config.norm_eps, name, tap)


class SumNotMean(Llama):
    def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
        statistic = np.sqrt(np.sum(np.square(x), axis=-1) + self.config.norm_eps)
        return normed(x, gain, statistic, name, tap)


class MeanCentred(Llama):
    def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
        return super().norm(x - np.mean(x, axis=-1, keepdims=True), gain, name, tap)


class Variance(Llama):
    def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
        statistic = rms(x - np.mean(x, axis=-1, keepdims=True), self.config.norm_eps)
        return normed(x, gain, statistic, name, tap)


EPS_MEND = "Read norm_eps (rms_norm_eps) from the model's config; do not write it into the code."


FAULTS = (
    Fault(
        "norm-eps-1e-5",
        "norm",
        "The norm's ε is 1e-5, which is not this model's.",
        "rms(x) = √(mean(x²) + 1e-5)",
        "llama.cpp#2373, lit-llama#339, candle#271: Llama 1 has 1e-6, Llama 2 and later 1e-5",
        EPS_MEND,
        config_with(norm_eps=1e-5),
        other_eps(1e-5),
    ),
    Fault(
        "norm-eps-1e-6",
        "norm",
        "The norm's ε is 1e-6, which is not this model's.",
        "rms(x) = √(mean(x²) + 1e-6)",
        "llama.cpp#2373, lit-llama#339, candle#271: Llama 1 has 1e-6, Llama 2 and later 1e-5",
        EPS_MEND,
        config_with(norm_eps=1e-6),
        other_eps(1e-6),
    ),
    Fault(
        "norm-eps-zero",
        "norm",
        "The norm's ε is missing, or became zero where it was stored as a whole number.",
        "rms(x) = √mean(x²)",
        "llm.c, train_llama3.py: a header of int32 holds 1e-5 as 0",
        EPS_MEND,
        config_with(norm_eps=0.0),
        other_eps(0.0),
    ),
    Fault(
        "norm-eps-outside-sqrt",
        "norm",
        "The norm's ε is added after the root, not under it.",
        "rms(x) = √mean(x²) + ε",
        "OLMo#281, TransformerEngine#364",
        "Add ε to the mean of the squares, then take the root.",
        stage(EpsOutside),
        lambda config: config.norm_eps > 0,
    ),
    Fault(
        "norm-sum-not-mean",
        "norm",
        "The norm divides by the length of the vector: the squares are summed, not averaged.",
        "rms(x) = √(Σ x² + ε)",
        "",
        "Divide the sum of the squares by dim before adding ε.",
        stage(SumNotMean),
    ),
    Fault(
        "norm-mean-centred",
        "norm",
        "The norm subtracts the mean: it is LayerNorm, not RMSNorm.",
        "y = (x - mean x) / √(mean((x - mean x)²) + ε) · g",
        "",
        "Leave the mean where it is; RMSNorm only divides.",
        stage(MeanCentred),
    ),
    Fault(
        "norm-variance",
        "norm",
        "The norm divides by the standard deviation, but does not subtract the mean.",
        "y = x / √(mean((x - mean x)²) + ε) · g",
        "code of learners",
        "Take the mean of the squares of x itself.",
        stage(Variance),
    ),
)
