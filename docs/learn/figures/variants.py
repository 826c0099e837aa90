"""A model with one thing changed, and what that does to the loss: wrong activations, no mask, …"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from numpy_llama import Llama, RopeScaling
from numpy_llama.attention import attend, causal_mask, softmax
from numpy_llama.feed_forward import swish
from numpy_llama.parameters import linear
from numpy_llama.sampling import log_probabilities

STORY = (
    "Mina found a small brass key under the apple tree. She asked her grandmother which door it "
    "opened, but the old woman only smiled and pointed at the hill. The next morning Mina packed "
    "bread, a lamp and the key, and walked up the path until she came to a stone wall with a tiny "
    "wooden door. The key turned. Behind the door there was a garden, and in the garden a well."
)
TOKENS = 64  # of the story


def loss(model: Llama, ids: list[int]) -> float:
    """The mean of -ln p over the tokens that follow the first (NLL, in nats)."""
    return float(-log_probabilities(model.forward(ids[:-1]), ids[1:]).mean())


def gelu(z: np.ndarray) -> np.ndarray:
    """GELU in the tanh form, as GPT-2 has it. Hendrycks & Gimpel 2016."""
    return z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


def sigmoid(z: np.ndarray) -> np.ndarray:
    """σ(z) = 1 / (1 + e^-z)."""
    return 1 / (1 + np.exp(-z))


# What stands between the projections: gate and up, each (L, F).
ACTIVATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "SwiGLU (as trained)": lambda gate, up: swish(gate) * up,
    "GELU gate": lambda gate, up: gelu(gate) * up,
    "ReLU gate": lambda gate, up: np.maximum(gate, 0) * up,
    "sigmoid gate (GLU)": lambda gate, up: sigmoid(gate) * up,
    "no activation": lambda gate, up: gate * up,
    "no up": lambda gate, up: swish(gate),
    "x·σ(x) + (1-σ(x))·x": lambda x, up: x * sigmoid(x) + (1 - sigmoid(x)) * x,
    "gate and up exchanged": lambda gate, up: gate * swish(up),
}


def with_activation(model: Llama, activation: Callable[[Any, Any], Any]) -> Llama:
    """The model with another function in the place of SwiGLU."""

    class Changed(Llama):
        def feed_forward(self, x, layer, tap):
            hidden = activation(linear(x, layer.w_gate), linear(x, layer.w_up))
            return linear(hidden, layer.w_down)

    return Changed(model.config, model.weights, model.attention)


def attend_changed(mask: bool, scaled: bool) -> Callable[..., np.ndarray]:
    """`attend` without its mask, or without the division by √hd."""

    def attention(q, k, v, tap=None):
        L, H, hd = q.shape
        k, v = (a.repeat(H // len(a), axis=0) for a in (k, v))
        scores = (
            q.transpose(1, 0, 2)
            @ k.transpose(0, 2, 1)
            / (np.sqrt(q.dtype.type(hd)) if scaled else 1)
        )
        if mask:
            scores = np.where(causal_mask(L, k.shape[1], like=q), scores, -np.inf)
        return (softmax(scores) @ v).transpose(1, 0, 2)

    return attention


def without_mask(model: Llama) -> Llama:
    """Every token sees all others, those to come included."""
    return replace(model, attention=attend_changed(mask=False, scaled=True))


def without_scale(model: Llama) -> Llama:
    """Scores are not divided by √hd."""
    return replace(model, attention=attend_changed(mask=True, scaled=False))


def without_rope(model: Llama) -> Llama:
    """Queries and keys are not turned: no token knows where it stands."""

    class Changed(Llama):
        def turn(self, q, k, R, tap):
            return q, k

    return Changed(model.config, model.weights, model.attention)


def without_norms(model: Llama) -> Llama:
    """Each sub-layer sees the stream itself, only scaled by its gains."""

    class Changed(Llama):
        def norm(self, x, gain, name, tap):
            return x * gain

    return Changed(model.config, model.weights, model.attention)


def with_pooled_keys(model: Llama, kv_heads: int) -> Llama:
    """Neighbouring key/value heads averaged, as the paper's conversion to GQA does; not trained."""

    def pooled(q, k, v, tap=None):
        k, v = (a.reshape(kv_heads, -1, *a.shape[1:]).mean(axis=1) for a in (k, v))
        return attend(q, k, v)

    return replace(model, attention=pooled)


def with_rope(model: Llama, kind: str, factor: float, context: int | None = None) -> Llama:
    """The model with its RoPE scaled, and the context that it then has."""
    c = model.config
    scaling = RopeScaling(kind, factor=factor, original_context=context or c.max_context)
    return replace(model, config=replace(c, rope_scaling=scaling))


def far(model: Llama, start: int = 100_000) -> Llama:
    """Positions begin at `start`."""

    class Far(Llama):
        def rotations(self, first, L):
            return super().rotations(first + start, L)

    return Far(model.config, model.weights, model.attention)
