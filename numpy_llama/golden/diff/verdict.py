"""What comes of two dumps against each other: tap by tap, for each of the two, and in all."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["alike", "differs", "wrong shape", "not finite"]


@dataclass(frozen=True)
class TapDiff:
    """One tap of both dumps."""

    tap: str
    verdict: Verdict
    error: float | None = None  # the distance in the worst row
    limit: float | None = None  # up to here it is alike
    roundoffs: tuple[float, ...] = ()  # the distance of each common row, in unit roundoffs
    first_row: int | None = None  # that is beyond the limit
    worst: tuple[int, ...] | None = None  # index of the largest absolute difference, rows first
    first: tuple[float, ...] = ()  # there, and up to two values after it, of the first dump
    second: tuple[float, ...] = ()
    detail: str = ""

    @property
    def most(self) -> float | None:
        """The distance of the worst row in unit roundoffs."""
        return max(self.roundoffs, default=None)


@dataclass(frozen=True)
class Side:
    """One of the two dumps; with a model, also how it stands to the truth."""

    name: str
    dtype: str
    only: tuple[str, ...] = ()  # taps that the other does not have
    truth: tuple[TapDiff, ...] | None = None  # against the model in float64

    @property
    def first_wrong(self) -> TapDiff | None:
        return first_different(self.truth or ())


@dataclass(frozen=True)
class Diff:
    """Two dumps against each other."""

    first: Side
    second: Side
    unit: str  # the coarser of the two dtypes, in whose unit roundoff distances are told
    taps: tuple[TapDiff, ...]  # that both have, in causal order
    notes: tuple[str, ...] = ()
    nearer: Literal["first", "second", "neither"] | None = None  # to the truth; None: no model

    @property
    def first_difference(self) -> TapDiff | None:
        return first_different(self.taps)

    @property
    def summary(self) -> Literal["alike", "differ"]:
        return "alike" if self.first_difference is None else "differ"

    @property
    def exit_code(self) -> int:
        """0 alike, 1 different."""
        return 0 if self.summary == "alike" else 1


def first_different(taps: tuple[TapDiff, ...]) -> TapDiff | None:
    """The first in causal order that is not alike."""
    return next((tap for tap in taps if tap.verdict != "alike"), None)
