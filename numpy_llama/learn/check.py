"""What is right in a learner's project, and what is wrong with the rest.

the learner's file → its examples → the whole model with it → what the judge says → Outcome
"""

import fnmatch
import functools
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from ..golden.check import check as judge
from ..golden.compare.verdict import Report
from ..golden.kit.process import Ended, execute
from ..golden.record.bundle import Bundle
from ..golden.record.record import record
from ..model import Llama
from .examples import Example
from .examples_assembly import EXAMPLES
from .lessons import about_tap, lesson_of
from .models import case_named, model_of
from .stages import Stage, with_needs

Status = Literal["right", "wrong", "error", "stopped", "not started", "missing"]
SECONDS = 30.0  # for one stage; a right solution needs one
LATE = 10.0  # seconds more, after which a process that does not end itself is ended
LARGEST = 1 << 20  # bytes of a learner's file
RUN = "import json, sys; job = json.loads(sys.argv[1]); sys.path[:] = job['path']; "
RUN += "from numpy_llama.learn.child import main; main(job)"
FRAME = re.compile(r'File "(.+)", line (\d+) in ')


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


# — the judge —


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
            reports.append(judge(golden, taps, dtype="float32", model=model))
    return reports


def faults_in(reports: Sequence[Report]) -> tuple[str, ...]:
    """The mistakes that explain what diverged: of several cases, those that explain most."""
    found = [
        {suspect.faults for suspect in report.diagnosis.suspects}
        for report in reports
        if report.diagnosis and report.diagnosis.suspects
    ]
    votes = [one for suspects in found for one in suspects]
    best = [one for one in dict.fromkeys(votes) if votes.count(one) == len(found)]
    return best[0] if len(best) == 1 else best[0][:1] if best else ()


def is_right(stage: Stage, report: Report) -> bool:
    """Whether what the stage gives is right."""
    fine = ("ok", "suspicious")
    if not any(tap.tap == "logits" for tap in report.judged):
        return False
    wrong = [tap.tap for tap in report.judged if tap.verdict not in fine]
    return not any(fnmatch.filter(wrong, pattern) for pattern in stage.gives)


def told_by(outcome: Outcome, reports: Sequence[Report]) -> Outcome:
    """The outcome with what the judge says: where, and which mistake."""
    bad = [report for report in reports if not is_right(outcome.stage, report)]
    if not bad:
        return replace(outcome, notes=tuple({n: 0 for r in reports for n in r.notes}))
    outcome = replace(outcome, status="wrong", faults=faults_in(bad))
    first = bad[0].first_divergent
    if outcome.example is None and not outcome.sentence and first is not None:
        operation = bad[0].first_bad_operation
        tap = operation.tap if operation else first.tap
        outcome = replace(
            outcome,
            tap=tap,
            function=about_tap(tap, outcome.stage.functions)[2],
            sentence=in_the_model(first.tap, first.first_bad_row, first.phase),
            got=numbers(first.got),
            expected=numbers(first.expected),
        )
    return outcome


def in_the_model(tap: str, row: int | None, phase: str | None) -> str:
    """Where a run of the whole model is wrong first."""
    says = f"the examples are right, but in the whole model {tap} is wrong"
    if row is None:
        return says
    later = ", computed in a later forward pass, with the cache" if phase == "decode" else ""
    return f"{says}, first for token {row}{later}"


def numbers(values: Sequence[float]) -> str:
    """A few numbers."""
    return ", ".join(f"{value:.5g}" for value in values)


# — the learner's process —


def run_child(
    stage: Stage, project: Path, ours: Sequence[str], seconds: float, folder: Path
) -> Ended:
    """Run a learner's file; what came of it is in the folder."""
    cases = []
    for name in stage.cases:
        schedule = golden_of(name)[1].schedule
        cases.append({"name": name, "tokens": schedule.tokens, "steps": schedule.steps})
    job = {
        "stage": stage.name,
        "project": str(project),
        "ours": list(ours),
        "cases": cases,
        "out": str(folder),
        "seconds": seconds,
        "path": [path for path in sys.path if path],
    }
    return execute([sys.executable, "-P", "-c", RUN, json.dumps(job)], seconds + LATE)


def last_place(folder: Path, project: Path) -> tuple[int | None, str]:
    """The line of the learner's that was running when their process was ended, and its text."""
    path = folder / "where.txt"
    text = path.read_text("utf-8", "replace") if path.is_file() else ""
    for file, number in FRAME.findall(text):
        if Path(file).parent == project:
            lines = Path(file).read_text("utf-8", "replace").splitlines()
            return int(number), "".join(lines[int(number) - 1 : int(number)])
    return None, ""


def how_it_ended(
    ended: Ended, stage: Stage, project: Path, folder: Path, seconds: float
) -> Outcome:
    """The outcome where the process left no result."""
    line, source = last_place(folder, project)
    text = (folder / "where.txt").read_text("utf-8", "replace") if folder.exists() else ""
    if ended.code is None or text.startswith("Timeout"):
        says = f"it did not end within {seconds:g} seconds, and was stopped: is there an endless "
        return Outcome(stage, "stopped", "", line, source, says + "loop?")
    says = f"its process ended before it was done (exit code {ended.code})"
    return Outcome(stage, "stopped", "", line, source, says)


def read_result(raw: Mapping[str, Any], stage: Stage) -> Outcome:
    """The outcome in what the process wrote down."""
    function = raw.get("function", "")
    at = raw.get("at") or {}
    number = raw.get("example")
    return Outcome(
        stage,
        "right" if raw["status"] == "ran" else raw["status"],
        function,
        at.get("line") or raw.get("lines", {}).get(function),
        at.get("source", "").strip(),
        raw.get("sentence", ""),
        None if number is None else EXAMPLES[stage.name][number],
        raw.get("got", ""),
        raw.get("expected", ""),
    )


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
        idea, mend, _ = about_tap(outcome.tap, outcome.stage.functions)
        return replace(outcome, idea=idea, mend=mend)
    return outcome


def check_stage(
    stage: Stage, project: Path, ours: Sequence[str] = (), seconds: float = SECONDS
) -> Outcome:
    """Check one file of a project. `ours`: the stages for which the learner's are not used."""
    path = project / stage.file
    if not path.is_file():
        return Outcome(stage, "missing", sentence=f"there is no file {stage.file}")
    if path.stat().st_size > LARGEST:
        return Outcome(stage, "error", sentence=f"{stage.file} is larger than {LARGEST:,} bytes")
    used = tuple(name for name in stage.needs if name in ours)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ended = run_child(stage, project, used, seconds, folder)
        try:
            raw = json.loads((folder / "result.json").read_bytes())
        except (OSError, ValueError):
            outcome = how_it_ended(ended, stage, project, folder, seconds)
        else:
            outcome = told_by(read_result(raw, stage), judged(stage, folder))
    return replace(with_hints(outcome), ours=used, printed=ended.printed)


def check_project(
    project: str | Path, chosen: Sequence[str] = (), seconds: float = SECONDS
) -> Iterator[Outcome]:
    """Check the files of a project, each when it is asked for, in the order of the course.

    chosen: only the stages of these names; what they build on is checked too, to know whether the
    learner's can be used. Raises InputError for a directory that is not there, or no such stage.
    """
    project = Path(project).resolve()
    if not project.is_dir():
        raise InputError(f"{project}: is no directory; `llama-np learn start DIR` makes one")
    ours: list[str] = []
    for stage in with_needs(chosen):
        outcome = check_stage(stage, project, ours, seconds)
        if outcome.status != "right":
            ours.append(stage.name)
        if not chosen or stage.name in chosen:
            yield outcome
