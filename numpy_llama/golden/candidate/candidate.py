"""A candidate: what another implementation gave, by our tap names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Candidate:
    """What another implementation gave, by our tap names.

    values: all T rows of a tap in the table's axes (scores and probs: (H, T, T)), or those that
    `rows` names. dtype: what it computed in, as declared. scalars, for devices that can do no
    more: per tap any of "sum", "mean", "first" (a list), "last" (a list). greedy: the ids that it
    chose, the first of them after the prompt.
    """

    values: Mapping[str, np.ndarray]
    dtype: str
    scalars: Mapping[str, Mapping[str, float | list[float]]] = field(default_factory=dict)
    greedy: list[int] | None = None
    notes: tuple[str, ...] = ()  # what its reader recognised: names, axes, layouts
    rows: Mapping[str, Sequence[int]] = field(default_factory=dict)
