"""The truth of a model, and how far right programs are from it, row by row.

A diff has no golden, whose floors are of groups of rows; here a row counts by itself, as nothing
is known of the steps in which the two programs ran.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...model import Llama
from ...taps import tap_names
from ...tokens import check_tokens
from ..candidate.candidate import Candidate
from ..replay.metrics import smoothed
from ..replay.precision import in_dtype
from ..replay.replay import run
from ..replay.rows import row_axis
from ..replay.schedule import Schedule
from ..replay.variants import variants
from .align import row_distances

TO_FLOAT64 = 2.0**-29  # of an error at float32: what is left of it with 29 bits more


@dataclass(frozen=True)
class Floors:
    """What a model gives in float64, and the largest error of right programs at some dtypes."""

    truth: Candidate
    order: list[str]  # all taps of the model
    by_dtype: Mapping[str, Mapping[str, float]]

    def at(self, dtype: str) -> Mapping[str, float]:
        """The floor of each tap at a dtype."""
        if dtype != "float64":
            return self.by_dtype[dtype]
        return {tap: TO_FLOAT64 * floor for tap, floor in self.by_dtype["float32"].items()}


def floors_of(
    model: Llama, tokens: Sequence[int], dtypes: Collection[str], wanted: Collection[str]
) -> Floors:
    """Run the model in float64, and in each equally right way at each of the dtypes.

    Raises InputError for tokens that it does not have.
    """
    check_tokens(tokens, model.config)
    schedule = Schedule.of(tokens)
    truth = run(in_dtype(model, "float64"), schedule, wanted)
    by_dtype = {}
    for dtype in {"float32" if dtype == "float64" else dtype for dtype in dtypes}:
        errors = dict.fromkeys(truth, 0.0)
        for variant in variants(model, dtype):
            for tap, noisy in run(variant, schedule, wanted).items():
                pair = (np.moveaxis(x, row_axis(tap), 0) for x in (noisy, truth[tap]))
                errors[tap] = max(errors[tap], float(row_distances(*pair).max()))
        by_dtype[dtype] = smoothed(errors, dtype)
    given = Candidate(truth, "float64", tokens=tuple(tokens))
    return Floors(given, tap_names(model.config.n_layers), by_dtype)
