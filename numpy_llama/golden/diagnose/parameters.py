"""A wrong number, estimated: the ε, θ, scale, factor, slope or window that explains the candidate.

The logits (or the first wrong tap) are a function of one number. It is found by trying a few
values, and then by the secant through the last two, until that leads nowhere new.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ...config import MAX_NUMBER
from ...errors import ConfigError
from ..compare.verdict import Isolated
from ..faults import Fault
from ..faults.parameter import PARAMETERS, Parameter
from .rows import Rows
from .search.search import Search
from .search.towards import cosine
from .search.trial import Trial, explains

BESIDE = 0.05  # relative: where the secant begins
MOST = 2.0  # in one step, in logarithms
STEPS = 12  # of the secant, at most
POINTING = 0.9  # the cosine with the error of what a small change of the right value makes
NEARER = 0.9  # of the error of the right value; one that explains it leaves far less
DONE = 1e-7  # relative: float32 has no digits beyond


@dataclass
class Work:
    """How many runs are left."""

    left: int
    done: int = 0

    def spend(self) -> bool:
        """Count one run. Whether there was one left."""
        self.left, self.done = self.left - 1, self.done + 1
        return self.left >= 0


@dataclass
class Fit:
    """The error of what the candidate gave against that of a model with this number."""

    search: Search
    parameter: Parameter
    tap: str
    work: Work
    tried: dict[float, np.ndarray | None] = field(default_factory=dict)

    def off(self, value: float) -> np.ndarray | None:
        """How far off it is, as one long vector; None if it cannot be compared."""
        if value not in self.tried:
            self.tried[value] = self.measured(value) if self.work.spend() else None
        return self.tried[value]

    def measured(self, value: float) -> np.ndarray | None:
        return off_from(self.search, self.tap, (self.fault_of(value),))

    def fault_of(self, value: float) -> Fault:
        return self.parameter.of(self.search.model.config, value)

    def try_each(self, values: Sequence[float]) -> None:
        """Measure these, as many as may be run, side by side."""
        new = [value for value in values if value not in self.tried]
        afforded = [value for value in new if self.work.spend()]
        sets = [(self.fault_of(value),) for value in afforded]
        look = partial(off_from, self.search, self.tap)
        self.tried |= dict.fromkeys(new)
        self.tried |= zip(afforded, self.search.each(look, sets), strict=True)


def off_from(search: Search, tap: str, faults: tuple[Fault, ...]) -> np.ndarray | None:
    """How far the candidate is off a model with these faults, as one long vector.

    None if it cannot be compared, or if there is no such model (YaRN has none with θ ≤ 1).
    """
    try:
        run = search.taps_of(faults, "float32").get(tap)
    except ConfigError:
        return None
    cut = None if run is None else search.evidence.cut(tap, run)
    if cut is None or not np.isfinite(cut).all():
        return None
    off = (search.evidence.values[tap].astype(np.float64) - cut).ravel()
    return off if math.isfinite(size(off)) else None


def size(off: np.ndarray | None) -> float:
    """The length of a vector; ∞ of none, and of one whose square is."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.inf if off is None else float(np.linalg.norm(off))


def fitted(fit: Fit, right: float) -> float | None:
    """The number that is nearest; None where the first values do not lead to it.

    By the secant, on a scale of logarithms, for all of these numbers are positive: from the nearest
    of the first values, or, if the right one is nearer than all, from that.
    """
    values = [right * step for step in (1.0, *fit.parameter.steps)]
    fit.try_each(values)
    start = min(values, key=lambda value: size(fit.off(value)))
    before, now = start * (1 + BESIDE), start
    for _ in range(STEPS):
        a, b = fit.off(before), fit.off(now)
        if a is None or b is None:
            break
        if now == right and cosine(a - b, b) < POINTING:
            return None
        slope = (a - b) / math.log(before / now)
        steepness = float(np.vdot(slope, slope))
        moved = -float(np.vdot(slope, b)) / steepness if steepness else 0.0
        moved = min(max(moved, -MOST), MOST)
        before, now = now, min(now * math.exp(moved), MAX_NUMBER)
        if any(abs(math.log(now / value)) < DONE for value in fit.tried):
            break  # it has arrived, or goes in circles
    return min((value for value in fit.tried if value != right), key=lambda v: size(fit.tried[v]))


def windows(rows: Rows) -> list[float]:
    """Window lengths to try: the first row that a window of w changes is row w."""
    first = min(rows.wrong, default=0)
    return [float(w) for w in (first, first + 1, first - 1) if w > 0]


def concerns(parameter: Parameter, bad: Isolated | None, rows: Rows) -> bool:
    """Whether the evidence leaves it open that this number is wrong."""
    if 0 in rows.wrong and not parameter.in_row_0:
        return False  # the first row sees itself alone: no position, no scale, no window
    if bad is None:
        return True
    kind = bad.tap.split(".", 2)[2] if bad.tap.startswith("layers.") else bad.tap
    return kind.endswith(".rms") if parameter.tap.endswith(".rms") else kind == parameter.tap


def explaining_numbers(
    search: Search, base: Trial, bad: Isolated | None, rows: Rows, most: int
) -> tuple[list[Trial], int]:
    """The numbers that explain everything, and how many runs that took."""
    config, found = search.model.config, []
    work = Work(most)
    bad = bad if search.complete else None
    tap = bad.tap if bad else list(search.evidence.values)[-1]
    at_once = search.in_one_call()
    from_right = off_from(at_once, tap, ())  # the first value of each
    for parameter in PARAMETERS:
        if not parameter.fault.applies(config) or not concerns(parameter, bad, rows):
            continue
        fit = Fit(at_once, parameter, tap, work, {parameter.right(config): from_right})
        if parameter.steps:
            value = fitted(fit, parameter.right(config)) if parameter.right(config) > 0 else None
            values = [] if value is None else [value]
        else:
            values = [w for w in windows(rows) if size(fit.off(w)) < math.inf]
            values = sorted(values, key=lambda w: size(fit.off(w)))[:1]
        values = [v for v in values if size(fit.off(v)) <= NEARER * size(from_right)]
        trials = [search.refine((parameter.of(config, value),)) for value in values]
        found += [trial for trial in trials if explains(trial, base)]
    return found, work.done
