"""Whether a change moves the logits to where the candidate's are."""

import math
from dataclasses import dataclass, field

import numpy as np

from .runs import beside


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of the angle between two arrays, without its sign; 0 where one is zero or not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        inner, size = float(np.vdot(a, b)), float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return abs(inner) / size if 0 < size < math.inf and math.isfinite(inner) else 0.0


@dataclass
class Towards:
    """What a change moves, held against what the candidate is off: row by row, beside the noise."""

    noise: np.ndarray  # (V,): the direction that tells nothing; see Beginning
    cosines: list[float] = field(default_factory=list)
    inner: float = 0.0
    squares: float = 0.0

    def add(self, off: np.ndarray, moved: np.ndarray) -> None:
        """Some more rows that the change moves. off, moved: (n, V)."""
        if off.shape != moved.shape or off.shape[-1:] != self.noise.shape:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            a, b = (beside(x.astype(np.float64), self.noise) for x in (off, moved))
            inner, squares = (a * b).sum(axis=-1), (b * b).sum(axis=-1)
            size = np.sqrt((a * a).sum(axis=-1) * squares)
            cosines = inner / np.where(size > 0, size, np.inf)
        known = np.isfinite(cosines) & np.isfinite(squares)
        self.cosines += cosines[known].tolist()
        self.inner += float(inner[known].sum())
        self.squares += float(squares[known].sum())

    @property
    def along(self) -> float:
        """The mean of the cosines: 1 where all of it is so, 0 where it is by chance, or none."""
        return max(sum(self.cosines) / len(self.cosines), 0.0) if self.cosines else 0.0

    @property
    def times(self) -> float:
        """How many times the change is in what the candidate is off: 1 where it is, beside more."""
        return self.inner / self.squares if self.squares else 0.0
