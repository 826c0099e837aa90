"""Name the mistake in a candidate that diverged, or say that none that is known explains it."""

import dataclasses
import math
from collections.abc import Sequence

from ...model import Llama
from ..candidate.candidate import Candidate
from ..compare.verdict import Diagnosis, Isolated, Report
from ..progress import Progress, no_progress
from ..record.bundle import Bundle
from ..replay.metrics import DIVERGENT
from . import choices
from .evidence import gather
from .isolate import isolate
from .localise import FEW, explaining_places
from .pairs import PATIENCE, affordable, explaining_pairs, pairs_in_one_stage
from .parameters import explaining_numbers
from .rows import Rows, about_rows, acquitted, acquitted_families, judge_rows
from .search.search import Search
from .search.trial import CLOSER, Trial, explains, indistinguishable
from .settle import NOISE, PARTLY, is_noise, settled


def names_in(trial: Trial) -> list[str]:
    return [fault.id for fault in trial.faults]


def named(explaining: list[Trial], others: list[Trial], stage: str | None, tried: int) -> Diagnosis:
    """The diagnosis when at least one trial explains everything."""
    explaining = sorted(explaining, key=lambda trial: trial.residual)
    members = indistinguishable(explaining)
    names = [names_in(trial) for trial in members]  # of which each may have been tried before
    ruled_out = [t for t in [*explaining, *others] if names_in(t) not in names]
    runner_up = nearest_of(ruled_out, math.inf)
    return Diagnosis(
        outcome="named" if len(members) == 1 else "set",
        suspects=tuple(trial.suspect() for trial in members),
        runner_up=runner_up.suspect() if runner_up else None,
        stage=stage,
        tried=tried,
    )


def nearest_of(trials: list[Trial], limit: float) -> Trial | None:
    """The nearest on all that was given, if one is within the limit."""
    near = [trial for trial in trials if trial.whole and trial.residual <= limit]
    return min(near, key=lambda trial: trial.residual, default=None)


def unexplained(
    trials: list[Trial], stage: str | None, tried: int, detail: str = "", limit: float = 0.0
) -> Diagnosis:
    """The diagnosis when none does: the nearest is told if it is near, but not named."""
    nearest = nearest_of(trials, limit)
    runner_up = nearest.suspect() if nearest else None
    return Diagnosis("unexplained", (), runner_up, stage, tried, detail)


@dataclasses.dataclass(frozen=True)
class Clues:
    """What is known before anything is tried."""

    bad: Isolated | None  # the first operation that is wrong by itself
    rows: Rows
    stage: str | None
    free: frozenset[str] = frozenset()  # mistakes that a right row acquits


def search_for_faults(
    search: Search,
    base: Trial,
    clues: Clues,
    deep: bool,
    allowed: Sequence[str] = (),
    name_mistakes: bool = True,
) -> Diagnosis:
    """Singles, numbers, in one place only; then pairs of which one explains the beginning, or all
    in one stage.

    Choices come where they cost least: those that were declared first, those of weights last.
    """
    stage = clues.stage
    chosen, looked_at = choices.declared(search, base, allowed)
    tried = len(looked_at)
    if not name_mistakes:
        return named(chosen, [], stage, tried) if chosen else unexplained([], stage, tried)
    if not choices.decisive(chosen, base):
        chosen, looked_at = choices.quick(search, base)
        tried += len(looked_at)
    if choices.decisive(chosen, base):
        return named(chosen, looked_at, stage, tried)
    singles = search.extend(base)
    tried += len(singles)
    clues = dataclasses.replace(
        clues, free=acquitted(singles, clues.rows) if search.alone else clues.free
    )
    found = [trial for trial in singles if explains(trial, base)] + chosen
    if found:
        diagnosis = named(found, singles, stage, tried)
    else:
        diagnosis = search_further(search, base, singles, looked_at, clues, deep, tried)
    return dataclasses.replace(
        diagnosis,
        evidence=about_rows(clues.rows, search.schedule, singles) if search.alone else "",
        acquitted=acquitted_families(singles, clues.free),
    )


def search_further(
    search: Search,
    base: Trial,
    singles: list[Trial],
    looked_at: list[Trial],
    clues: Clues,
    deep: bool,
    tried: int,
) -> Diagnosis:
    """What explains, in the order in which it is likely; `singles` and some choices were tried."""
    bad, stage = clues.bad, clues.stage
    found, more = choices.thorough(search, base)
    tried += len(more)
    if not found:
        found, noisy = choices.hidden(search, base, [*looked_at, *more])
        tried += len(noisy)
    if found:
        return named(found, singles, stage, tried)
    most = affordable(search, PATIENCE if bad else FEW)
    found, runs = explaining_numbers(search, base, bad, clues.rows, most)
    tried += runs
    if found:
        return named(found, singles, stage, tried)
    found, local, left = explaining_places(
        search, base, singles, bad, clues.free, max(most - runs, 0)
    )
    tried += len(local)
    if found:
        return named(found, [*singles, *local], stage, tried)
    found, both = choices.with_another(
        search, base, [*looked_at, *more], singles, most=affordable(search, FEW)
    )
    tried += len(both)
    if found:
        return named(found, [*singles, *both], stage, tried)
    found, pairs = explaining_pairs(search, base, singles)
    tried += len(pairs)
    if not found and (deep or not search.alone):
        found, in_stage = pairs_in_one_stage(search, base, singles, deep)
        tried += len(in_stage)
    if found:
        return named(found, [*singles, *pairs], stage, tried)
    near = [*singles, *local, *pairs]
    return unexplained(near, stage, tried, left, limit=CLOSER * base.residual)


def diagnose(
    golden: Bundle,
    candidate: Candidate,
    report: Report,
    model: Llama,
    deep: bool = False,
    progress: Progress = no_progress,
    name_mistakes: bool = True,
    jobs: int = 1,
) -> Report:
    """The report of a candidate that diverged, with where it first did, and by which mistake.

    report: what `compare` made of the normalised candidate. model: the golden's. deep: also try
    every pair of faults. name_mistakes: else only the choices that were declared are tried.
    jobs: how many models with mistakes are run at once; the diagnosis is the same.
    """
    dtype = report.dtype
    evidence = gather(golden, candidate.values, candidate.rows)
    isolated = isolate(model, evidence, dtype)
    report = dataclasses.replace(report, isolated=isolated)
    bad = report.first_bad_operation or report.first_divergent
    stage = bad.tap if bad else None
    if evidence.values:
        floors = {
            (tap, group): floor
            for tap in evidence.values
            for group, floor in enumerate(golden.group_floors(tap, dtype))
        }
        search = Search(model, golden.schedule, evidence, floors, dtype, progress, jobs)
        base = search.refine(())
        if base.residual <= DIVERGENT:
            if is_noise(golden, candidate, search):
                notes = (*report.notes, NOISE)
                return dataclasses.replace(report, diagnosis=Diagnosis("correct"), notes=notes)
            diagnosis = unexplained([], stage, 0, PARTLY)
            return dataclasses.replace(report, diagnosis=diagnosis)
        clues = Clues(report.first_bad_operation, judge_rows(golden, evidence, dtype), stage)
        diagnosis = search_for_faults(search, base, clues, deep, report.allowed, name_mistakes)
        report = dataclasses.replace(report, diagnosis=diagnosis)
        return settled(golden, candidate, search, report)
    detail = "nothing that was given can be compared with a run of the model"
    return dataclasses.replace(report, diagnosis=unexplained([], stage, 0, detail))
