"""Run another implementation on the cases of a kit, and judge what it gives."""

import fnmatch
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import InputError, LlamaError
from ...wording import did_you_mean
from ..candidate.names import find_names
from ..check import check, check_allowed
from ..compare.verdict import Report
from ..replay.metrics import floors
from ..report.diagnosis import diagnosis_title
from ..report.text import headline
from .kit import FORMATS, Entry
from .process import Ended, execute, filled, split_command

Status = Literal["passed", "diverged", "choice", "incomplete", "failed", "skipped"]

PLACEHOLDERS = ("model", "tokens", "tokens_file", "steps", "pads", "out", "name")
NOT_ASKED = "its tokens begin with pads, and the command has no {pads} to be told how many"


@dataclass(frozen=True)
class Result:
    """What came of one case. "failed": the command did not do its work, so nothing was judged."""

    name: str
    status: Status
    seconds: float = 0.0  # of the command
    detail: str = ""  # one sentence
    report: Report | None = None


@dataclass(frozen=True)
class Plan:
    """How the cases are run."""

    words: list[str]  # of the command, with placeholders
    work: Path  # where the command leaves its output
    format: str = "any"
    dtype: str | None = None
    names: str | None = None
    timeout: float = 60.0
    name_mistakes: bool = True
    allow: tuple[str, ...] = ()  # choices that were declared

    def __post_init__(self) -> None:
        if not self.timeout > 0:  # NaN, which no time ever reaches, passes other checks
            raise InputError(f"a time of {self.timeout:g} s ends no command: give a positive one")


def takes(words: Sequence[str], placeholder: str) -> bool:
    """Whether a command has a placeholder."""
    return any(f"{{{placeholder}}}" in word for word in words)


def make_plan(command: str, work: str | Path, allow: Sequence[str] = (), **options: object) -> Plan:
    """A plan for a command. Raises InputError for one that cannot be understood."""
    words = split_command(command, PLACEHOLDERS)
    if not takes(words, "out"):
        raise InputError("the command must say where its output goes: put {out} into it")
    plan = Plan(words, Path(work), allow=check_allowed(allow), **options)  # type: ignore[arg-type]
    find_names(plan.names)  # before the first case, which may run for minutes
    return plan


def select_cases(entries: Sequence[Entry], patterns: Sequence[str]) -> list[Entry]:
    """The cases that match any of the patterns. Raises InputError for one that matches none."""
    for pattern in patterns:
        if not fnmatch.filter([entry.name for entry in entries], pattern):
            names = [entry.name for entry in entries]
            like = did_you_mean(pattern, names)
            raise InputError(f"no case matches {pattern!r}{like}; there are {', '.join(names)}")
    wanted = patterns or ["*"]
    return [e for e in entries if any(fnmatch.fnmatch(e.name, pattern) for pattern in wanted)]


def model_in(entry: Entry, format_: str) -> Path | None:
    """The model of a case in a format, or in the first that it has."""
    if format_ == "any":
        return next((entry.models[name] for name in FORMATS if name in entry.models), None)
    return entry.models.get(format_)


# — what the command left —


def kind_of_file(path: Path) -> str:
    """The suffix that a file without one should have, by its first bytes."""
    with open(path, "rb") as file:
        head = file.read(16)
    if head.startswith(b"\x93NUMPY"):
        return ".npy"
    if head.startswith(b"PK\x03\x04"):
        return ".npz"
    if head[8:9] == b"{":
        return ".safetensors"
    if head.lstrip()[:1] in (b"{", b"["):
        return ".json"
    return ".txt" if head.lstrip().startswith(b"0:") else ".bin"


def find_output(folder: Path) -> Path:
    """What lies in the folder that {out} points into. Raises InputError unless it is one thing."""
    found = sorted(folder.iterdir())
    if not found:
        raise InputError("the command wrote nothing to {out}")
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:4])
        raise InputError(
            f"the command left {len(found)} files at {{out}} ({names}): write one, or make {{out}} "
            "a directory of them"
        )
    path = found[0]
    if path.is_file() and not path.suffix:
        path = path.rename(path.with_suffix(kind_of_file(path)))
    return path


def complaint(ended: Ended, timeout: float) -> str:
    """What is wrong with how the command ended; "" if nothing is."""
    if ended.code == 0:
        return ""
    said = f": {ended.last_line}" if ended.last_line else ""
    if ended.code is None:
        return f"the command did not end within {timeout:g} s{said}"
    how = f"with exit code {ended.code}" if ended.code > 0 else f"by signal {-ended.code}"
    return f"the command ended {how}{said}"


# — one case —


def worst_floors(report: Report) -> str:
    """How far off the worst is; where nothing could be measured, what is wrong instead."""
    measured = [tap for tap in report.judged if tap.ratio is not None]
    worst = max(measured, key=lambda tap: tap.ratio or 0.0, default=None)
    if worst is not None:
        at = "" if report.summary == "passed" else f", at {worst.tap}"
        return f"the worst is off by {floors(worst.ratio)} floors{at}"
    first = report.first_divergent
    return f"{first.tap}: {first.verdict}" if first else "nothing was measured"


def sentence(report: Report) -> str:
    """What a report comes to."""
    found = report.diagnosis
    if report.summary == "passed" and not report.chosen:
        return worst_floors(report)
    if report.summary == "incomplete":
        return headline(report)
    if found is None:
        return f"{worst_floors(report)}; no mistake was looked for"
    names = [" + ".join(suspect.faults) for suspect in found.suspects]
    what = " or ".join(names) if names else diagnosis_title(found)
    return f"{what}; {worst_floors(report)}"


def values_for(entry: Entry, model: Path, folder: Path) -> dict[str, str]:
    """What is filled into the command."""
    schedule = entry.schedule
    return {
        "model": str(model.resolve()),
        "tokens": ",".join(map(str, schedule.tokens)),
        "tokens_file": str(entry.tokens_file.resolve()),
        "steps": ",".join(map(str, schedule.steps)),
        "pads": str(entry.pads),
        "out": str(folder.resolve() / "out"),
        "name": entry.name,
    }


def run_case(plan: Plan, entry: Entry, name_mistakes: bool = True) -> Result:
    """Run the command on one case and judge its output.

    Raises InputError for a command that cannot be started, which no other case would change.
    """
    model = model_in(entry, plan.format)
    if model is None:
        why = entry.not_held.get(plan.format, f"not in the format {plan.format}")
        return Result(entry.name, "skipped", detail=why)
    if entry.pads and not takes(plan.words, "pads"):
        return Result(entry.name, "skipped", detail=NOT_ASKED)
    folder = plan.work / entry.name
    folder.mkdir(parents=True)
    began = time.monotonic()
    ended = execute(filled(plan.words, values_for(entry, model, folder)), plan.timeout)
    seconds = time.monotonic() - began
    if wrong := complaint(ended, plan.timeout):
        return Result(entry.name, "failed", seconds, wrong)
    try:
        report = check(
            entry.golden,
            find_output(folder),
            dtype=plan.dtype,
            names=plan.names,
            model=entry.models["hf"],
            name_mistakes=name_mistakes,
            allow=plan.allow,
            pads=entry.pads,
        )
    except LlamaError as error:
        return Result(entry.name, "failed", seconds, f"could not be judged: {error}")
    except OSError as error:
        why = f"could not be judged: {error.filename}: {error.strerror}"
        return Result(entry.name, "failed", seconds, why)
    return Result(entry.name, report.summary, seconds, sentence(report), report)


def run_kit(plan: Plan, entries: Sequence[Entry]) -> Iterator[Result]:
    """Each case's result, when it is there. Raises InputError if the format has none of them."""
    if not any(model_in(entry, plan.format) for entry in entries):
        raise InputError(f"none of these cases is there in the format {plan.format}")
    diverged = False
    for entry in entries:
        # A slow case takes minutes to diagnose, and seldom tells what another has not told.
        result = run_case(plan, entry, plan.name_mistakes and not (entry.slow and diverged))
        diverged |= result.status == "diverged"
        yield result
