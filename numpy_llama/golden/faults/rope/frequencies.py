"""Mistakes in RoPE's frequencies."""

import math
from collections.abc import Callable

import numpy as np

from ....config import MAX_NUMBER, LlamaConfig
from ....model import Llama
from ....rope_scaling import frequencies
from ...replay.precision import rotations_in_float32
from ...replay.schedule import Schedule
from ..fault import Change, Fault, config_with, stage

Frequencies = Callable[[np.ndarray, LlamaConfig], np.ndarray]


def frequencies_with(change: Frequencies) -> Change:
    """The fault of a model that turns its pairs at `change(f, config)`, not at f."""

    class OtherFrequencies(Llama):
        def rotations(self, start: int, L: int) -> np.ndarray:
            f, magnitude = frequencies(self.config, start + L)
            like = self.weights.tok_embeddings
            return rotations_in_float32(change(f, self.config), start, L, magnitude, like)

    return stage(OtherFrequencies)


def other_theta(theta: float) -> Callable[[LlamaConfig], bool]:
    """Whether the model has another θ."""
    return lambda config: config.rope_theta != theta


def width_assumed(config: LlamaConfig) -> bool:
    """Whether dim / n_heads is not head_dim, and gives a θ that a config can hold."""
    exponent = config.head_dim * config.n_heads / config.dim
    fits = exponent * math.log(config.rope_theta) < math.log(MAX_NUMBER)
    return config.head_dim > 2 and exponent != 1 and fits


def exponent_over(divisor: Callable[[LlamaConfig], float]) -> Change:
    """The fault of frequencies θ^(-2i/divisor), then scaled as this model's are.

    That is the base θ^(hd/divisor) with the right exponent, -2i/hd.
    """

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        config = model.config
        theta = config.rope_theta ** (config.head_dim / divisor(config))
        return config_with(rope_theta=theta)(model, schedule)

    return apply


THETA_MEND = "Read rope_theta from the model's config; Llama 1 and 2 have 1e4, Llama 3 has 5e5."


FAULTS = (
    Fault(
        "rope-theta-1e4",
        "rope",
        "RoPE's base θ is 10000, which is not this model's.",
        "fᵢ = 10000^(-2i/hd)",
        "airllm#368, gpt-fast#181, penzai#102, llama2.c#356, torchtune#1341",
        THETA_MEND,
        config_with(rope_theta=1e4),
        other_theta(1e4),
    ),
    Fault(
        "rope-theta-5e5",
        "rope",
        "RoPE's base θ is 500000, which is not this model's.",
        "fᵢ = 500000^(-2i/hd)",
        "penzai#102",
        THETA_MEND,
        config_with(rope_theta=5e5),
        other_theta(5e5),
    ),
    Fault(
        "rope-theta-1e6",
        "rope",
        "RoPE's base θ is 1000000, which is not this model's.",
        "fᵢ = 1000000^(-2i/hd)",
        "torchtune#1341",
        THETA_MEND,
        config_with(rope_theta=1e6),
        other_theta(1e6),
    ),
    Fault(
        "rope-exponent",
        "rope",
        "RoPE's exponent counts pairs where it should count features: i for 2i.",
        "fᵢ = θ^(-i/hd), i = 0 … hd/2 - 1, before scaling",
        "",
        "The exponent of pair i is -2i/hd.",
        exponent_over(lambda config: 2 * config.head_dim),
        lambda config: config.head_dim > 2,
    ),
    Fault(
        "rope-dim",
        "rope",
        "RoPE's exponent divides by the model's width, not by the head's.",
        "fᵢ = θ^(-2i/D), before scaling",
        "candle#2358, lmdeploy#2761",
        "The exponent of pair i is -2i/hd, with hd the width of one head.",
        exponent_over(lambda config: config.dim),
        lambda config: config.dim > config.head_dim > 2,
    ),
    Fault(
        "rope-head-dim-assumed",
        "rope",
        "RoPE takes the width of a head to be dim / n_heads, which it is not in this model.",
        "fᵢ = θ^(-2i/(D/H)), before scaling",
        "llama.cpp#9141, candle#2358, executorch#8846",
        "Read head_dim from the config, where it is given.",
        exponent_over(lambda config: config.dim / config.n_heads),
        width_assumed,
    ),
)
