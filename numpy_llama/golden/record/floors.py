"""Floors: how far noise leads from the truth when a model is computed in a dtype."""

import numpy as np

from ...model import Llama
from ..replay.metrics import Groups, group_errors, smoothed_groups
from ..replay.replay import Taps, run
from ..replay.schedule import Schedule
from ..replay.variants import variants


def in_fewer_steps(model: Llama, schedule: Schedule) -> Schedule:
    """A schedule that gives the same rows sooner, where there is one.

    With NTK-aware scaling by length, the rows depend on the steps in which they are computed.
    """
    return schedule if model.config.rope_scaling.type == "dynamic" else schedule.merged


def measure_floors(
    model: Llama, schedule: Schedule, truth: Taps, dtype: str
) -> tuple[dict[str, Groups], float]:
    """The largest error of each tap in each group of rows, and of a single logit.

    The largest of all the ways in which `variants` computes this model in `dtype`.
    """
    errors = {name: np.zeros(len(schedule.groups)) for name in truth}
    noise, steps = 0.0, schedule
    for variant in variants(model, dtype):
        noisy = run(variant, steps, truth.keys())
        steps = in_fewer_steps(model, schedule)  # of all but the first, to try both
        for name in truth:
            of_groups = group_errors(name, noisy[name], truth[name], schedule)
            errors[name] = np.maximum(errors[name], of_groups)
        with np.errstate(invalid="ignore"):
            largest = float(np.abs(noisy["logits"] - truth["logits"]).max())
        noise = max(noise, largest) if np.isfinite(largest) else noise
    return smoothed_groups({name: e.tolist() for name, e in errors.items()}, dtype), noise
