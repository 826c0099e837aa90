"""Mistakes in RMSNorm."""

from collections.abc import Callable

import numpy as np

from ...config import LlamaConfig
from ...model import Llama
from ...norm import rms, rms_norm
from ...parameters import LayerWeights
from ...taps import Tap
from ..replay.precision import round_to_float16
from .fault import Fault, Stages, as_array_of, assembled, config_with, layers_with, stage, swapped


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


class FinalMissing(Llama):
    def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
        if name != "final_norm":
            return super().norm(x, gain, name, tap)
        tap(name, x)
        return x


def after_instead_of_before(of: Stages, x: np.ndarray) -> np.ndarray:
    """Norms of what is added, not of what goes in."""
    x = of.resid_mid(x + of.attn_norm(of.attention(x)))
    return of.resid_post(x + of.ffn_norm(of.feed_forward(x)))


def after_the_sum(of: Stages, x: np.ndarray) -> np.ndarray:
    """Norms of the stream itself, each time that something was added to it."""
    x = of.resid_mid(of.attn_norm(x + of.attention(x)))
    return of.resid_post(of.ffn_norm(x + of.feed_forward(x)))


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


def gains_swapped(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    """The gains of a block's two norms, exchanged."""
    return swapped(layer, "attn_norm", "ffn_norm")


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
    Fault(
        "norm-final-missing",
        "norm",
        "The norm before the head is missing.",
        "logits = x W_headᵀ, with x the residual stream itself; the tap final_norm is x",
        "speculators#313, PaddleNLP#7615",
        "Normalise the residual stream once more, with the final gain, before the head.",
        stage(FinalMissing),
    ),
    Fault(
        "norm-swapped",
        "norm",
        "In every block the gains of the two norms are exchanged.",
        "attention's norm uses ffn_norm, the feed-forward's uses attn_norm",
        "",
        "input_layernorm comes before attention, post_attention_layernorm before the feed-forward.",
        layers_with(gains_swapped),
    ),
    Fault(
        "norm-post",
        "norm",
        "The norms come after attention and feed-forward, not before them.",
        "x ← x + norm(attention(x));  x ← x + norm(ffn(x))",
        "",
        "Normalise what goes into attention and feed-forward; add their outputs as they are.",
        assembled(after_instead_of_before),
    ),
    Fault(
        "norm-post-sum",
        "norm",
        "The norms come after each sum, as in the first Transformer.",
        "x ← norm(x + attention(x));  x ← norm(x + ffn(x))",
        "Vaswani et al. 2017; code of learners",
        "Normalise what goes into attention and feed-forward; leave the stream as it is.",
        assembled(after_the_sum),
    ),
)
