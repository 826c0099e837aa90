"""A candidate: what another implementation gave, by our tap names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

# What a device that can print no more may give of a tap: one number, or the first or last few.
SCALARS = ("sum", "mean", "first", "last")


@dataclass(frozen=True)
class Candidate:
    """What another implementation gave.

    values: by tap, whatever axes and rows its author gave; `normalise` makes them ours.
    dtype: what it computed in, as declared. scalars: per tap any of SCALARS. greedy: the ids that
    it chose, the first of them after the prompt. rows: of each tap, the rows of the schedule that
    it gives; where that is not declared, `normalise` tells it from the shape.
    """

    values: Mapping[str, np.ndarray]
    dtype: str
    scalars: Mapping[str, Mapping[str, float | list[float]]] = field(default_factory=dict)
    greedy: list[int] | None = None
    notes: tuple[str, ...] = ()  # what was recognised: names, axes, layouts
    rows: Mapping[str, Sequence[int]] = field(default_factory=dict)
    flat: frozenset[str] = frozenset()  # taps from files that do not say their shape
    tokens: tuple[int, ...] | None = None  # on which it says that it was run
