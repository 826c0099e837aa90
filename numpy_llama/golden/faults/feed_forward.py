"""Mistakes in the feed-forward network."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from ...config import LlamaConfig
from ...feed_forward import swiglu, swish
from ...model import Llama
from ...parameters import LayerWeights, linear
from ...taps import Tap
from .fault import Change, Fault, as_array_of, layers_with, stage, swapped, zeroed

erf_of_each = np.frompyfunc(math.erf, 1, 1)


def combining(combine: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Change:
    """The fault of a model that combines gate and up in another way."""

    class Combining(Llama):
        def feed_forward(self, x: np.ndarray, layer: LayerWeights, tap: Tap) -> np.ndarray:
            gate = linear(x, layer.w_gate, layer.b_gate)
            up = linear(x, layer.w_up, layer.b_up)
            tap("gate", gate)
            tap("up", up)
            hidden = combine(gate, up)
            tap("swiglu", hidden)
            out = linear(hidden, layer.w_down, layer.b_down)
            tap("ffn_out", out)
            return out

    return stage(Combining)


def sigmoid(z: np.ndarray) -> np.ndarray:
    """σ(z) = 1 / (1 + e^(-z))."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-z))


def gelu_tanh(z: np.ndarray) -> np.ndarray:
    """GELU's approximation by tanh. Hendrycks & Gimpel 2016, section 2."""
    return 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z * z * z)))


def gelu_erf(z: np.ndarray) -> np.ndarray:
    """GELU itself: z times the normal distribution function of z."""
    erf = np.asarray(erf_of_each(np.asarray(z, np.float64) / math.sqrt(2)), np.float64)
    return z * as_array_of((1 + erf) / 2, z)


def without_biases(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    return dataclasses.replace(layer, b_gate=None, b_up=None, b_down=None)


def gate_and_up_swapped(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    """w_up where w_gate belongs, and the reverse."""
    return swapped(swapped(layer, "w_gate", "w_up"), "b_gate", "b_up")


ACTIVATION_MEND = "Llama's activation is SiLU: z · σ(z)."

FAULTS = (
    Fault(
        "gate-up-swapped",
        "feed_forward",
        "SiLU is taken of up, and gate is what it lets through.",
        "swiglu = silu(up) · gate",
        "nntrainer#4194, mlx-lm#767",
        "Take SiLU of the gate (w1, gate_proj); multiply by up (w3, up_proj).",
        combining(lambda gate, up: swiglu(up, gate)),
    ),
    Fault(
        "gate-up-weights-swapped",
        "feed_forward",
        "w_gate and w_up are exchanged.",
        "gate = x w_upᵀ, up = x w_gateᵀ",
        "nntrainer#4194",
        "w1 is gate_proj, w3 is up_proj, and w2 is down_proj.",
        layers_with(gate_and_up_swapped),
    ),
    Fault(
        "silu-of-product",
        "feed_forward",
        "SiLU is taken of the product of gate and up.",
        "swiglu = silu(gate · up)",
        "breakdown-minimind#3",
        "Take SiLU of the gate alone, then multiply by up.",
        combining(lambda gate, up: swish(gate * up)),
    ),
    Fault(
        "gelu-tanh",
        "feed_forward",
        "The activation is GELU (by tanh), not SiLU.",
        "swiglu = gelu_tanh(gate) · up",
        "transformers#29402, vllm#3411, gemma_pytorch#37",
        ACTIVATION_MEND,
        combining(lambda gate, up: gelu_tanh(gate) * up),
    ),
    Fault(
        "gelu-erf",
        "feed_forward",
        "The activation is GELU (by erf), not SiLU.",
        "swiglu = gate · Φ(gate) · up",
        "transformers#29402, vllm#3411, gemma_pytorch#37",
        ACTIVATION_MEND,
        combining(lambda gate, up: gelu_erf(gate) * up),
    ),
    Fault(
        "relu",
        "feed_forward",
        "The activation is ReLU, not SiLU.",
        "swiglu = max(gate, 0) · up",
        "",
        ACTIVATION_MEND,
        combining(lambda gate, up: np.maximum(gate, 0) * up),
    ),
    Fault(
        "sigmoid",
        "feed_forward",
        "The activation is the sigmoid: SiLU without its factor z.",
        "swiglu = σ(gate) · up",
        "",
        ACTIVATION_MEND,
        combining(lambda gate, up: sigmoid(gate) * up),
    ),
    Fault(
        "gate-missing",
        "feed_forward",
        "The gate is not applied.",
        "swiglu = up",
        "",
        "Multiply up by SiLU of the gate.",
        combining(lambda gate, up: up),
    ),
    Fault(
        "up-missing",
        "feed_forward",
        "The gate is passed on by itself, and up is not used.",
        "swiglu = silu(gate)",
        "",
        "Multiply SiLU of the gate by up.",
        combining(lambda gate, up: swish(gate)),
    ),
    Fault(
        "silu-identity",
        "feed_forward",
        "The activation is σ(z)·z + (1 - σ(z))·z, which is z itself.",
        "swiglu = gate · up",
        "code of learners: SwiGLU(x) = x·σ(βx) + (1 - σ(βx))·x",
        ACTIVATION_MEND,
        combining(lambda gate, up: gate * up),
    ),
    *(
        Fault(
            f"{id}-zero",
            "feed_forward",
            f"{tensor} was never loaded, and is zero.",
            f"{tensor} = 0 in every layer; biases are added",
            "",
            f"Load {tensor}: compare the names of the checkpoint with those that were read.",
            layers_with(zeroed(tensor)),
        )
        for id, tensor in (("gate", "w_gate"), ("up", "w_up"), ("down", "w_down"))
    ),
    Fault(
        "mlp-bias-missing",
        "feed_forward",
        "The biases of the feed-forward's projections are not added.",
        "gate = x w_gateᵀ, and so for up and out",
        "",
        "Add b_gate, b_up and b_down where the checkpoint has them.",
        layers_with(without_biases),
        lambda config: config.mlp_bias,
    ),
)
