"""How each token was chosen: what every filter of sampling leaves of the likeliest."""

from dataclasses import replace
from typing import Any

import numpy as np

from ..sampling import Sampling, next_token_probabilities
from .facts import LIKELIEST, largest
from .run import Run

# The filters in the order of sampling.py: each a field of Sampling.
FILTERS = ("repeat_penalty", "temperature", "top_k", "top_p", "min_p")
# What they do, on the logits of a greedy run, which filters nothing.
EXAMPLE = Sampling(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, repeat_penalty=1.1)


def filtered(logits: np.ndarray, settings: Sampling, seen: list[int]) -> list[np.ndarray]:
    """The distribution after each filter: all later ones are off. One (V,) for each of FILTERS."""
    off = Sampling(temperature=1.0)
    stages = []
    for count in range(1, len(FILTERS) + 1):
        on = {name: getattr(settings, name) for name in FILTERS[:count]}
        stages.append(next_token_probabilities(logits, replace(off, **on), seen))
    return stages


def choice_facts(run: Run) -> list[dict[str, Any]]:
    """How each token was chosen: of the likeliest, what every filter leaves of them."""
    settings = EXAMPLE if run.settings.temperature == 0 else run.settings
    choices = []
    for step, token in enumerate(run.chosen):
        position = run.prompt - 1 + step
        logits = run.record.steps[step].arrays["logits"][-1]
        stages = filtered(logits, settings, run.ids[: position + 1])
        ids = largest(logits, LIKELIEST)
        choices.append(
            {
                "chosen": token,
                "ids": ids.tolist(),
                "kept": [int(np.count_nonzero(stage)) for stage in stages],
                "left": [[float(f"{p:.6g}") for p in stage[ids]] for stage in stages],
            }
        )
    return choices
