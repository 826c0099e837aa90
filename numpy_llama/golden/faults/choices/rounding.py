"""Choices of what is rounded to bfloat16: softmax, norms, the residual stream."""

from collections.abc import Callable

import numpy as np

from ....attention import softmax
from ....model import Llama
from ....norm import rms
from ....taps import Tap
from ...replay.precision import round_to_bfloat16
from ...replay.schedule import Schedule
from ..attention.parts import attention_with
from ..fault import Change, Stages, as_array_of, assembled, stage
from ..norm.output import in_narrow
from .choice import choice


def bf16(x: np.ndarray) -> np.ndarray:
    """Each value to the nearest bfloat16; the dtype and the kind of array stay."""
    return as_array_of(round_to_bfloat16(np.asarray(x)), x)


def softmax_of_bf16(scores: np.ndarray) -> np.ndarray:
    """Scores and probabilities in bfloat16, with a wider inside."""
    return bf16(softmax(bf16(scores)))


def softmax_in_bf16(scores: np.ndarray) -> np.ndarray:
    """Each operation in bfloat16."""
    s = bf16(scores)
    weights = bf16(np.exp(bf16(s - s.max(axis=-1, keepdims=True))))
    return bf16(weights / bf16(weights.sum(axis=-1, keepdims=True)))


def fused_norm(gain_too: bool) -> type[Llama]:
    """RMSNorm of an input in bfloat16, of which the outcome alone is rounded."""

    class Fused(Llama):
        def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
            h = bf16(x)
            statistic = rms(h, self.config.norm_eps)
            tap(f"{name}.rms", statistic)
            y = bf16(h / statistic[:, None]) * (bf16(gain) if gain_too else gain)
            y = bf16(y) if gain_too else y
            tap(name, y)
            return y

    return Fused


class NarrowEmbedding(Llama):
    def embed(self, ids: np.ndarray) -> np.ndarray:
        return bf16(super().embed(ids))


def narrow_stream(added: Callable[[np.ndarray], np.ndarray]) -> Change:
    """A residual stream in bfloat16; `added` says what becomes of what is added to it."""

    def block(of: Stages, x: np.ndarray) -> np.ndarray:
        x = of.resid_mid(bf16(x + added(of.attention(of.attn_norm(x)))))
        return of.resid_post(bf16(x + added(of.feed_forward(of.ffn_norm(x)))))

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        return stage(NarrowEmbedding)(*assembled(block)(model, schedule))

    return apply


CHOICES = (
    choice(
        "softmax-bfloat16",
        "Computes its softmax in bfloat16.",
        "p = r(softmax(r(s))), or each operation rounded; r rounds to bfloat16",
        "",
        attention_with(normalise=softmax_of_bf16),
        attention_with(normalise=softmax_in_bf16),
        rounds_to="bfloat16",
    ),
    choice(
        "probs-bfloat16",
        "Rounds the probabilities of attention to bfloat16.",
        "p = r(softmax(s)), r rounds to bfloat16",
        "",
        attention_with(normalise=lambda scores: bf16(softmax(scores))),
        rounds_to="bfloat16",
    ),
    choice(
        "norm-bf16",
        "Computes its norms in bfloat16.",
        "h = r(x); m = r(mean(r(h²))); s = r(1/√r(m + ε)); y = r(h·s)·g;  r rounds to bfloat16",
        "minimind#301",
        stage(in_narrow(round_to_bfloat16)),
        stage(fused_norm(gain_too=False)),
        stage(fused_norm(gain_too=True)),
        rounds_to="bfloat16",
    ),
    choice(
        "residual-bfloat16",
        "Keeps its residual stream in bfloat16.",
        "x ← r(x + attention(…)), x ← r(x + ffn(…)), r rounds to bfloat16",
        "",
        narrow_stream(lambda added: added),
        narrow_stream(bf16),
        rounds_to="bfloat16",
    ),
)
