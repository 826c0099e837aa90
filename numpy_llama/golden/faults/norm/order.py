"""Mistakes in where the norms stand."""

import numpy as np

from ....config import LlamaConfig
from ....model import Llama
from ....parameters import LayerWeights
from ....taps import Tap
from ..fault import Fault, Stages, assembled, layers_with, stage, swapped


class FinalMissing(Llama):
    def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
        if name != "final_norm":
            return super().norm(x, gain, name, tap)
        tap(name, x)
        return x


def gains_swapped(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    """The gains of a block's two norms, exchanged."""
    return swapped(layer, "attn_norm", "ffn_norm")


def after_instead_of_before(of: Stages, x: np.ndarray) -> np.ndarray:
    """Norms of what is added, not of what goes in."""
    x = of.resid_mid(x + of.attn_norm(of.attention(x)))
    return of.resid_post(x + of.ffn_norm(of.feed_forward(x)))


def after_the_sum(of: Stages, x: np.ndarray) -> np.ndarray:
    """Norms of the stream itself, each time that something was added to it."""
    x = of.resid_mid(of.attn_norm(x + of.attention(x)))
    return of.resid_post(of.ffn_norm(x + of.feed_forward(x)))


FAULTS = (
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
