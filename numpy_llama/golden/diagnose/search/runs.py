"""The runs of models with faults: at a dtype, in the candidate's steps or fewer, many at once."""

import dataclasses
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Self, TypeVar

import numpy as np

from ....model import Llama
from ....taps import tap_names
from ...faults import CATALOGUE, Fault
from ...progress import Progress
from ...record.floors import in_fewer_steps
from ...replay.beside.meeting import shares
from ...replay.beside.side_by_side import in_groups, met_by_all, side_by_side
from ...replay.metrics import Cell
from ...replay.precision import in_dtype
from ...replay.replay import Observer, observe_nothing, run
from ...replay.schedule import Schedule
from ...replay.variants import is_large
from ..evidence import Evidence

# Mistakes that show otherwise, or not at all, where all decode steps are one call.
BY_STEP = frozenset(
    "cache-misses-self cache-prompt-end-lost decode-later-layers-plus-1 decode-position-doubled "
    "decode-position-minus-1 decode-position-plus-1 decode-position-plus-1-gap "
    "decode-position-zero heads-not-transposed left-padding-decode-positions logits-previous-row "
    "mask-missing mask-one-ahead mask-skipped-with-cache mask-upper-left mask-upper-left-decode "
    "prompt-end-repeated softmax-over-queries".split()
)

ENOUGH = 64  # rows to find a direction by

T = TypeVar("T")
StepErrors = dict[tuple[str, int], float]  # tap and first row of a step → error


@dataclass(frozen=True)
class Beginning:
    """A run that faults are to be added to: how far the candidate is from it, and its values."""

    errors: StepErrors
    logits: dict[int, np.ndarray]  # of each step, by its first row
    taps: dict[str, np.ndarray]  # in evidence
    noise: np.ndarray  # (V,): the direction of the logits in which most of float32's noise lies


def beside(x: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Each row of x, without what lies in a direction."""
    return x - (x @ direction)[..., None] * direction


def main_direction(rows: np.ndarray) -> np.ndarray:
    """The one that most rows point along, or against: (n, V) to (V,), of size 1."""
    size = np.linalg.norm(rows, axis=-1, keepdims=True)
    known = np.isfinite(size[:, 0]) & (size[:, 0] > 0)
    if not known.any():
        return np.zeros(rows.shape[-1], rows.dtype)
    unit = (rows[known] / size[known])[:ENOUGH]
    direction: np.ndarray = np.linalg.svd(unit, full_matrices=False)[2][0]
    return direction


@dataclass(frozen=True)
class Runs:
    """What stays the same over all trials."""

    model: Llama
    schedule: Schedule
    evidence: Evidence
    floors: Mapping[Cell, float]  # the golden's, at the candidate's dtype
    dtype: str
    progress: Progress
    jobs: int = 1  # trials at once, in threads: they share the weights, and NumPy lets others run
    begun: dict[tuple[object, ...], Beginning] = field(default_factory=dict)  # each is made once

    @property
    def complete(self) -> bool:
        """Whether all taps were given, so that an operation's inputs are those just before it."""
        return self.evidence.values.keys() >= set(tap_names(self.model.config.n_layers))

    def in_one_call(self) -> Self:
        """The search with all decode steps in one call, which reads the weights once."""
        return dataclasses.replace(self, schedule=in_fewer_steps(self.model, self.schedule))

    @property
    def alone(self) -> bool:
        """Whether the logits are all that was given."""
        return list(self.evidence.values) == ["logits"]

    @staticmethod
    def stepless(faults: Iterable[Fault]) -> bool:
        """Whether the logits with these mistakes do not depend on how a run is divided in calls."""
        return all(fault.id in CATALOGUE and fault.id not in BY_STEP for fault in faults)

    def quickly(self, faults: tuple[Fault, ...]) -> Self:
        """The same in one call, if these are of how weights are stored: they know no steps."""
        return self.in_one_call() if faults and all(f.stored for f in faults) else self

    def groups(self, sets: Sequence[tuple[Fault, ...]]) -> list[Sequence[int]]:
        """Which sets of faults are run side by side, by their numbers.

        Those that step alike; and two by two those that change the weights as they are stored: of
        all matrices and of the layers' alone, which change a layer in the same way.
        """
        if not shares(self.model):
            return [[i] for i in range(len(sets))]
        stored = [i for i, faults in enumerate(sets) if any(fault.stored for fault in faults)]
        computed = [i for i in range(len(sets)) if i not in stored]
        alike = [[i for i in computed if self.stepless(sets[i]) == way] for way in (True, False)]
        groups = [g for same in alike for g in in_groups(same, len(self.schedule.tokens))]
        return [*groups, *(stored[i : i + 2] for i in range(0, len(stored), 2))]

    def each(
        self, look: Callable[[tuple[Fault, ...]], T], sets: Sequence[tuple[Fault, ...]]
    ) -> list[T]:
        """What a look at each set of faults gives, in their order.

        In groups, each side by side in a thread; `jobs` groups at once. Who is in a group does not
        depend on `jobs`, so neither does what is found.
        """
        found: dict[int, T] = {}
        groups, given_up = self.groups(sets), threading.Event()

        def look_at(group: Sequence[int]) -> list[T]:
            return side_by_side(self.model, [partial(look, sets[i]) for i in group], given_up)

        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                for group, outcomes in zip(groups, pool.map(look_at, groups), strict=True):
                    self.progress(len(found), len(sets), " + ".join(f.id for f in sets[group[0]]))
                    found.update(zip(group, outcomes, strict=True))
            except BaseException:  # Ctrl-C: the pool waits for what is under way
                given_up.set()
                raise
        self.progress(len(sets), len(sets), "")
        return [found[i] for i in range(len(sets))]

    def together(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """What each returns, `jobs` at once; of a large model one by one: each may copy weights."""
        with ThreadPoolExecutor(1 if is_large(self.model) else self.jobs) as pool:
            return list(pool.map(lambda work: work(), works))

    def play(
        self, faults: Iterable[Fault], dtype: str, observe: Observer = observe_nothing
    ) -> dict[str, np.ndarray]:
        """The taps in evidence of the model with these faults, at a dtype."""
        model, schedule, faults = met_by_all(self.model), self.schedule, tuple(faults)
        for stored in (fault for fault in faults if fault.stored):
            model, schedule = stored.apply(model, schedule)
        computed = [fault for fault in faults if not fault.stored]
        return self.play_on(in_dtype(model, dtype), computed, observe)

    def play_on(
        self, model: Llama, faults: Iterable[Fault], observe: Observer = observe_nothing
    ) -> dict[str, np.ndarray]:
        """The same for this model as it is."""
        schedule = self.schedule
        for fault in faults:
            model, schedule = fault.apply(model, schedule)
        if schedule != self.schedule or not self.evidence.by_step:
            observe = observe_nothing  # its steps are not those of the candidate
        return run(model, schedule, self.evidence.values.keys(), observe)

    def beginning(self, faults: tuple[Fault, ...]) -> Beginning:
        """How far the candidate is from a model with these faults, at each tap of each step."""
        key = self.schedule.steps, faults
        if key in self.begun:
            return self.begun[key]
        base = Beginning({}, {}, {}, np.zeros(0))

        def observe(name: str, start: int, array: np.ndarray) -> None:
            base.errors[name, start] = self.evidence.step_error(name, start, array)
            if name == "logits":
                base.logits[start] = array

        base.taps.update(self.play(faults, "float32", observe))
        if "logits" in base.taps:
            noise = self.beginning(()).noise if faults else self.noise_of(base.taps["logits"])
            base = dataclasses.replace(base, noise=noise)
        self.begun[key] = base  # whole: another thread may ask for it
        return base

    def noise_of(self, logits: np.ndarray) -> np.ndarray:
        """The direction of what a right run is off; none, if its rows are not the golden's."""
        truth = self.evidence.truth.get("logits", logits)
        same = logits.shape == truth.shape
        return main_direction(logits - truth if same else np.zeros_like(logits))

    def taps_of(self, faults: tuple[Fault, ...], dtype: str) -> dict[str, np.ndarray]:
        """As `play` gives them; those of the model itself are at hand in float32."""
        at_hand = not faults and dtype == "float32"
        return self.beginning(faults).taps if at_hand else self.play(faults, dtype)
