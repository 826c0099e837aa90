"""The whole model with a learner's stage in it, run on the kit's cases, for the judge."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ...golden.replay.replay import play
from ...golden.replay.rows import empty_joined, place, visible
from ...golden.replay.schedule import Schedule
from ...model import Llama
from ..course.stages import Stage
from ..models import case_named, model_of
from .assembly import ADAPTERS


def taps_of(model: Llama, schedule: Schedule) -> dict[str, np.ndarray]:
    """What a run showed: the taps that are there in every step, their rows joined.

    What a learner calls twice, or with shapes that do not fit, is left out: others show it.
    """
    T = len(schedule.tokens)
    steps: dict[str, dict[int, np.ndarray]] = {}

    def keep(name: str, start: int, array: np.ndarray) -> None:
        steps.setdefault(name, {}).setdefault(start, np.array(array, np.float64))

    play(model, schedule, keep)
    taps = {}
    for name, arrays in steps.items():
        if len(arrays) < len(schedule.steps):
            continue
        try:
            joined = empty_joined(name, arrays[0], T)
            for start, array in arrays.items():
                place(name, array, start, joined)
        except (ValueError, IndexError):
            continue
        taps[name] = np.where(visible(T), joined, 0) if name.endswith(".scores") else joined
    return taps


def run_cases(
    stage: Stage, modules: Mapping[str, ModuleType], cases: Sequence[Mapping[str, Any]], out: Path
) -> None:
    """Leave the taps of each case."""
    for case in cases:
        plain = model_of(case_named(case["name"]), "float64")
        model = ADAPTERS[stage.name](modules)(plain.config, plain.weights)
        schedule = Schedule(tuple(case["tokens"]), tuple(case["steps"]))
        np.savez(out / f"{case['name']}.npz", **taps_of(model, schedule))  # type: ignore[arg-type]
