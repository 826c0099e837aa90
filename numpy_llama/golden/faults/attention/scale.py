"""Mistakes in the scale of attention's scores."""

import math
from collections.abc import Callable

import numpy as np

from ....config import LlamaConfig
from ....model import Llama
from ....taps import Tap
from ..fault import Change, Fault, stage
from .parts import attention_with


def scale_with(scale: Callable[[LlamaConfig], float]) -> Change:
    """The fault of scores multiplied by something else than 1/√hd."""
    return lambda model, schedule: attention_with(scale=lambda hd: scale(model.config))(
        model, schedule
    )


class ScaledQueries(Llama):
    def turn(
        self, q: np.ndarray, k: np.ndarray, R: np.ndarray, tap: Tap
    ) -> tuple[np.ndarray, np.ndarray]:
        return super().turn(q / math.sqrt(self.config.head_dim), k, R, tap)


SCALE_MEND = "Divide the scores by √head_dim, once."


FAULTS = (
    Fault(
        "scale-missing",
        "attention",
        "The scores are not scaled.",
        "scores = q·k",
        "train-llm-from-scratch#3",
        SCALE_MEND,
        attention_with(scale=lambda hd: 1.0),
        lambda config: config.head_dim > 1,
    ),
    Fault(
        "scale-dim",
        "attention",
        "The scores are scaled by the model's width.",
        "scores = q·k / √D",
        "mlc-llm#3426",
        SCALE_MEND,
        scale_with(lambda config: config.dim**-0.5),
        lambda config: config.dim != config.head_dim,
    ),
    Fault(
        "scale-heads",
        "attention",
        "The scores are scaled by the number of heads.",
        "scores = q·k / √H",
        "tt-metal#56789",
        SCALE_MEND,
        scale_with(lambda config: config.n_heads**-0.5),
        lambda config: config.n_heads != config.head_dim,
    ),
    Fault(
        "scale-head-dim-assumed",
        "attention",
        "The scores are scaled as if a head were dim / n_heads wide, which it is not here.",
        "scores = q·k / √(D/H)",
        "",
        "Read head_dim from the config, where it is given; divide the scores by its root.",
        scale_with(lambda config: (config.n_heads / config.dim) ** 0.5),
        lambda config: config.head_dim * config.n_heads != config.dim,
    ),
    Fault(
        "scale-twice",
        "attention",
        "The queries are scaled, and the scores again.",
        "q ← q/√hd after the tap q, before RoPE; then scores = q·k/√hd",
        "",
        SCALE_MEND,
        stage(ScaledQueries),
    ),
    Fault(
        "scale-head-dim",
        "attention",
        "The scores are divided by head_dim, not by its root.",
        "scores = q·k / hd",
        "",
        SCALE_MEND,
        scale_with(lambda config: 1 / config.head_dim),
    ),
)
