"""What goes into a judgement, and what comes out: plain data, for text, JSON and HTML alike."""

from dataclasses import dataclass
from typing import Literal

from ..replay.schedule import Phase

Verdict = Literal[
    "ok", "suspicious", "divergent", "missing", "wrong shape", "wrong dtype", "not finite"
]
Summary = Literal["passed", "diverged", "incomplete", "choice"]

EXIT_CODES: dict[Summary, int] = {"passed": 0, "diverged": 1, "incomplete": 3, "choice": 4}


@dataclass(frozen=True)
class TapVerdict:
    """The judgement of one tap, or of one scalar of it (`part`)."""

    tap: str
    verdict: Verdict
    error: float | None = None  # relative RMS error against the golden, in the worst group of rows
    floor: float | None = None  # the same of this model itself at the declared dtype
    max_abs: float | None = None
    worst: tuple[int, ...] | None = None  # index of the largest absolute error
    got: tuple[float, ...] = ()  # there, and up to two values after it on the last axis
    expected: tuple[float, ...] = ()  # likewise in the golden
    first_bad_row: int | None = None
    phase: Phase | None = None  # of that row
    part: str = ""  # "sum", "first", …: which scalar; "" for a whole tap
    detail: str = ""  # shapes, dtypes, counts: what the verdict alone does not say

    @property
    def ratio(self) -> float | None:
        """The error in units of the floor."""
        return None if self.error is None or not self.floor else self.error / self.floor


@dataclass(frozen=True)
class Flip:
    """A row where the candidate's most likely token is not the golden's."""

    row: int
    expected: int
    got: int
    gap: float  # between the golden's two largest logits
    noise: float  # largest absolute error of a logit of this model itself at the declared dtype

    @property
    def within_noise(self) -> bool:
        """Whether noise can do that: each of two logits may move by it, towards the other."""
        return self.gap <= 2 * self.noise


@dataclass(frozen=True)
class LogitsVerdict:
    """The logits as distributions. KL divergences are in nats, of the golden from the candidate."""

    rows: int
    kl_mean: float
    kl_max: float
    top1: float  # share of rows with the same most likely token
    top5: float  # mean share of the five most likely tokens in common
    flips: tuple[Flip, ...]


@dataclass(frozen=True)
class GreedyVerdict:
    """The candidate's greedy ids against the golden's, up to the first that differs."""

    same: int  # how many agree from the start
    of: int
    flip: Flip | None = None  # after it the two see different tokens: nothing more can be said

    @property
    def verdict(self) -> Verdict:
        """Divergent if an id differs and noise cannot have done it."""
        if self.flip is not None:
            return "suspicious" if self.flip.within_noise else "divergent"
        return "ok" if self.same == self.of else "missing"


@dataclass(frozen=True)
class Isolated:
    """One tap, recomputed by the reference from what the candidate itself gave before it."""

    tap: str
    verdict: Verdict
    error: float
    floor: float
    inputs: tuple[str, ...]  # the candidate's taps that it was recomputed from; () for the tokens

    @property
    def ratio(self) -> float:
        """The error in units of the floor."""
        return self.error / self.floor


@dataclass(frozen=True)
class Suspect:
    """A fault, or several at once, and how far the candidate is from a model that has them."""

    faults: tuple[str, ...]  # ids of the catalogue
    residual: float  # worst tap's error against that model, in units of that model's floor
    tap: str  # that worst tap


@dataclass(frozen=True)
class Diagnosis:
    """Which known mistake, or which choice, explains the candidate.

    outcome: "correct": nothing to explain; "named": one suspect; "set": several, which this
    evidence cannot tell apart; "unexplained": none.
    """

    outcome: Literal["correct", "named", "set", "unexplained"]
    suspects: tuple[Suspect, ...] = ()  # best first; of a "set", all its members
    runner_up: Suspect | None = None  # the nearest that was ruled out
    stage: str | None = None  # the first divergent operation, as its tap's name
    tried: int = 0
    detail: str = ""


@dataclass(frozen=True)
class NotExcluded:
    """A known mistake that could be there unseen, and how many floors it makes at most."""

    fault: str  # id of the catalogue
    ratio: float


@dataclass(frozen=True)
class Report:
    """The judgement of one candidate."""

    dtype: str
    taps: tuple[TapVerdict, ...]  # every tap of the golden, in causal order
    scalars: tuple[TapVerdict, ...] = ()
    logits: LogitsVerdict | None = None
    greedy: GreedyVerdict | None = None
    unknown: tuple[str, ...] = ()  # names that the golden does not have
    notes: tuple[str, ...] = ()  # layouts and look-alikes that were recognised, and are harmless
    required: tuple[str, ...] = ()  # what had to be given, and judged right, to pass
    isolated: tuple[Isolated, ...] = ()  # filled in by `diagnose`
    diagnosis: Diagnosis | None = None
    judgeable: bool = True  # False: of what is required, noise at this dtype may be as large itself
    not_excluded: tuple[NotExcluded, ...] | None = None  # largest first; None: not measured
    chosen: tuple[str, ...] = ()  # ids of the choices that explain all that is off
    allowed: tuple[str, ...] = ()  # ids of the choices that were declared

    @property
    def judged(self) -> list[TapVerdict]:
        """The verdicts on what the candidate gave, in causal order; scalars last."""
        return [tap for tap in (*self.taps, *self.scalars) if tap.verdict != "missing"]

    @property
    def first_divergent(self) -> TapVerdict | None:
        """The first tap in causal order that is neither ok, suspicious, nor missing."""
        fine = ("ok", "suspicious")
        return next((tap for tap in self.judged if tap.verdict not in fine), None)

    @property
    def first_bad_operation(self) -> Isolated | None:
        """The first stage that is wrong even when it is given the candidate's own inputs."""
        return next((stage for stage in self.isolated if stage.verdict == "divergent"), None)

    @property
    def summary(self) -> Summary:
        """Diverged if anything did; passed if, besides, all that is required was given.

        What the model itself explains is noise; what choices explain is no divergence either, and
        passes where they were declared. Where noise at this dtype may be as large as the values,
        nothing passes: zeros would.
        """
        greedy = self.greedy.verdict if self.greedy else "missing"
        noise = self.diagnosis is not None and self.diagnosis.outcome == "correct"
        if self.off and not self.chosen and not noise:
            return "diverged"
        if not self.judgeable:
            return "incomplete"
        given = {tap.tap for tap in self.judged} | ({"greedy"} if greedy != "missing" else set())
        if not given or not given.issuperset(self.required):
            return "incomplete"
        return "passed" if set(self.chosen) <= set(self.allowed) else "choice"

    @property
    def off(self) -> bool:
        """Whether anything that was given is not what the golden has."""
        greedy = self.greedy is not None and self.greedy.verdict == "divergent"
        return self.first_divergent is not None or greedy

    @property
    def exit_code(self) -> int:
        """0 passed, 1 diverged, 3 incomplete, 4 a choice that was not declared."""
        return EXIT_CODES[self.summary]
