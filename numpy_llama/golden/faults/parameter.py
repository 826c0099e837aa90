"""Mistakes that are a wrong number: of each, which number, and the fault of a model that has it."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from ...config import LlamaConfig
from ...model import Llama
from ..replay.schedule import Schedule
from .attention.mask import MASK_MEND, window
from .attention.parts import attention_with
from .attention.scale import SCALE_MEND
from .fault import Change, Fault, config_with
from .feed_forward import ACTIVATION_MEND, combining, sigmoid
from .norm.statistic import EPS_MEND
from .rope.frequencies import THETA_MEND
from .rope.scaling import scaled


@dataclass(frozen=True)
class Parameter:
    """A number of which every wrong value is a mistake.

    `fault` says what is common to all of them; `made` is the change of a model with one of them.
    """

    fault: Fault
    symbol: str
    right: Callable[[LlamaConfig], float]
    made: Callable[[LlamaConfig, float], Change]
    tap: str  # the first that it makes wrong, without the layer
    steps: tuple[float, ...] = ()  # where to begin: factors of the right value; () for lengths
    in_row_0: bool = False  # whether the first row, which sees itself alone, can show it

    def of(self, config: LlamaConfig, value: float) -> Fault:
        """The fault of a model with this value."""
        change, right = self.made(config, value), self.right(config)
        return dataclasses.replace(self.fault, apply=change, value=value, should_be=right)


def nothing(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
    """The change of a fault whose number is not known."""
    return model, schedule


def factor_of(config: LlamaConfig, value: float) -> Change:
    return config_with(rope_scaling=dataclasses.replace(config.rope_scaling, factor=value))


def length(config: LlamaConfig) -> float:
    """Of the window of a model that has none."""
    return math.inf


WIDE = (1e-3, 1e-2, 0.1, 0.5, 2.0, 10.0, 100.0, 1e3)
NEAR = (0.1, 0.3, 0.7, 1.5, 3.0, 10.0)

PARAMETERS = (
    Parameter(
        Fault(
            "norm-eps",
            "norm",
            "The norm's ε is not this model's.",
            "rms(x) = √(mean(x²) + ε), with another ε",
            "",
            EPS_MEND,
            nothing,
        ),
        "ε",
        lambda config: config.norm_eps,
        lambda config, eps: config_with(norm_eps=max(eps, 0.0)),
        "attn_norm.rms",
        (0.01, 0.1, 10.0, 100.0, 1000.0),
        in_row_0=True,
    ),
    Parameter(
        Fault(
            "swish-beta",
            "feed_forward",
            "The activation is Swish with a slope of its own, not SiLU.",
            "swiglu = gate · σ(β gate) · up, with β other than 1",
            "",
            ACTIVATION_MEND,
            nothing,
        ),
        "β",
        lambda config: 1.0,
        lambda config, beta: combining(lambda gate, up: gate * sigmoid(gate * beta) * up),
        "swiglu",
        NEAR,
        in_row_0=True,
    ),
    Parameter(
        Fault(
            "rope-theta",
            "rope",
            "RoPE's base θ is not this model's.",
            "fᵢ = θ^(-2i/hd), with another θ",
            "",
            THETA_MEND,
            nothing,
            lambda config: config.head_dim > 2,
        ),
        "θ",
        lambda config: config.rope_theta,
        lambda config, theta: config_with(rope_theta=theta),
        "q_rot",
        WIDE,
    ),
    Parameter(
        Fault(
            "rope-factor",
            "rope",
            "The factor by which RoPE's context is extended is not this model's.",
            "rope_scaling with another factor",
            "",
            "Read rope_scaling.factor from the model's config.",
            nothing,
            scaled("linear", "llama3", "yarn"),
        ),
        "factor",
        lambda config: config.rope_scaling.factor,
        factor_of,
        "q_rot",
        (0.25, 0.5, 2.0, 4.0),
    ),
    Parameter(
        Fault(
            "score-scale",
            "attention",
            "The scores are not scaled by 1/√head_dim.",
            "scores = q·k · s, with another s",
            "",
            SCALE_MEND,
            nothing,
        ),
        "scale",
        lambda config: 1 / math.sqrt(config.head_dim),
        lambda config, scale: attention_with(scale=lambda hd: scale),
        "scores",
        NEAR,
    ),
    Parameter(
        Fault(
            "window-length",
            "attention",
            "Attention looks at the last positions only.",
            "key j is visible to query i if i - w < j ≤ i",
            "transformers#39408, transformers#29623, mlx-lm#390",
            MASK_MEND,
            nothing,
        ),
        "window",
        length,
        lambda config, w: attention_with(mask=window(int(w))),
        "probs",
    ),
)
