"""What the judge says of a learner's stage: right; or where it is wrong, by which mistake."""

import fnmatch
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ..golden.check import check
from ..golden.compare.verdict import Report, TapVerdict
from ..golden.faults import CHOICES
from ..golden.record.bundle import Bundle
from ..golden.record.record import record
from ..model import Llama
from .course.examples import Example
from .course.lessons import about_tap, lesson_of
from .course.stages import Stage
from .models import case_named, model_of

Status = Literal["right", "wrong", "error", "stopped", "not started", "missing"]


@dataclass(frozen=True)
class Outcome:
    """What came of one stage."""

    stage: Stage
    status: Status
    function: str = ""  # the first that is not right
    line: int | None = None  # of the function; of an error, where it arose
    source: str = ""  # that line, of an error
    sentence: str = ""  # what happened, where it is not an example
    example: Example | None = None  # the first that fails
    got: str = ""
    expected: str = ""
    tap: str = ""  # where the whole model is wrong first
    faults: tuple[str, ...] = ()  # the mistakes that explain it: ids of the catalogue
    idea: str = ""
    mend: str = ""
    ours: tuple[str, ...] = ()  # the stages for which ours were used
    notes: tuple[str, ...] = ()  # what is unusual, and right all the same
    printed: str = ""  # by the learner's code


@functools.cache
def golden_of(case: str) -> tuple[Llama, Bundle]:
    """A case's model, and what it must give."""
    one = case_named(case)
    model = model_of(one)
    return model, record(model, one.tokens, one.decode, one.chunk, detect=False)


def judged(stage: Stage, folder: Path) -> list[Report]:
    """What the judge says of each case that ran."""
    reports = []
    for case in stage.cases:
        path = folder / f"{case}.npz"
        if path.is_file():
            with np.load(path, allow_pickle=False) as file:
                taps = {name: file[name] for name in file.files}
            model, golden = golden_of(case)
            reports.append(check(golden, taps, dtype="float32", model=model))
    return reports


def faults_in(reports: Sequence[Report]) -> tuple[str, ...]:
    """The mistakes that explain what diverged: those that explain most of the cases.

    Of those that explain as many, a number that was estimated comes first: what is its special
    case in one model need not be so in another. No choice is told to a learner.
    """
    explaining = [
        dict.fromkeys(
            one for one in report.diagnosis.suspects if not CHOICES.keys() & set(one.faults)
        )
        for report in reports
        if report.diagnosis and report.diagnosis.suspects
    ]
    votes: dict[tuple[str, ...], int] = {}
    numbers: set[tuple[str, ...]] = set()
    for suspects in explaining:
        for one in suspects:
            votes[one.faults] = votes.get(one.faults, 0) + 1
            numbers |= {one.faults} if one.value is not None else set()
    most = max(votes.values(), default=0)
    best = [faults for faults, count in votes.items() if count == most]
    best = [faults for faults in best if faults in numbers] or best
    if most * 2 < len(explaining):
        return ()
    return best[0] if len(best) == 1 else best[0][:1] if best else ()


def is_right(stage: Stage, report: Report) -> bool:
    """Whether what the stage gives is right."""
    if report.summary == "passed":
        return True
    fine = ("ok", "suspicious")
    if not any(tap.tap == "logits" for tap in report.judged):
        return False
    wrong = [tap.tap for tap in report.judged if tap.verdict not in fine]
    return not any(fnmatch.filter(wrong, pattern) for pattern in stage.gives)


def told_by(outcome: Outcome, reports: Sequence[Report], lines: Mapping[str, int]) -> Outcome:
    """The outcome with what the judge says: where, and which mistake.

    lines: where the functions begin.
    """
    bad = [report for report in reports if not is_right(outcome.stage, report)]
    if not bad:
        return replace(outcome, notes=tuple({n: 0 for r in reports for n in r.notes}))
    outcome = replace(outcome, status="wrong", faults=faults_in(bad))
    first = bad[0].first_divergent
    if outcome.example is None and not outcome.sentence and first is not None:
        operation = bad[0].first_bad_operation
        tap = operation.tap if operation else first.tap
        function = about_tap(tap, outcome.stage)[2]
        outcome = replace(
            outcome,
            tap=tap,
            function=function,
            line=lines.get(function),
            sentence=in_the_model(function, first),
            got=numbers(first.got),
            expected=numbers(first.expected),
        )
    return outcome


def in_the_model(function: str, first: TapVerdict) -> str:
    """Where a run of the whole model is wrong first."""
    says = f"the examples are right, but not the whole model: look at {function}. {first.tap} is "
    if first.first_bad_row is None:
        return f"{says}{first.verdict}"
    later = ", in a later forward pass, with the cache" if first.phase == "decode" else ""
    return f"{says}wrong, first for token {first.first_bad_row}{later}"


def numbers(values: Sequence[float]) -> str:
    """A few numbers."""
    return ", ".join(f"{value:.5g}" for value in values)


def with_hints(outcome: Outcome) -> Outcome:
    """The outcome with its second and third hint."""
    if outcome.status != "wrong":
        return outcome
    if outcome.faults:
        lessons = [lesson_of(fault) for fault in outcome.faults]
        return replace(
            outcome,
            idea=" ".join(idea for idea, _ in lessons),
            mend="; ".join(mend for _, mend in lessons),
        )
    if outcome.example is not None:
        return replace(outcome, idea=outcome.example.idea, mend=outcome.example.mend)
    if outcome.tap:
        idea, mend, _ = about_tap(outcome.tap, outcome.stage)
        return replace(outcome, idea=idea, mend=mend)
    return outcome
