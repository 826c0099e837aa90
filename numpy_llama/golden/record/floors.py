"""Floors: how far noise leads from the truth when a model is computed in a dtype."""

import numpy as np

from ...model import Llama
from ..replay.metrics import smoothed, tap_error
from ..replay.precision import in_dtype
from ..replay.replay import Taps, run
from ..replay.schedule import Schedule


def measure_floors(
    model: Llama, schedule: Schedule, truth: Taps, dtype: str
) -> tuple[dict[str, float], float]:
    """Each tap's error when this model computes in `dtype`, and the largest of a logit."""
    noisy = run(in_dtype(model, dtype), schedule, truth.keys())
    floors = {name: tap_error(name, noisy[name], truth[name], schedule) for name in truth}
    noise = float(np.abs(noisy["logits"] - truth["logits"]).max())
    return smoothed(floors, dtype), noise if np.isfinite(noise) else 0.0
