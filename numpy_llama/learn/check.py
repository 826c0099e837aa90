"""What is right in a learner's project, and what is wrong with the rest.

the learner's file → its examples → the whole model with it → what the judge says → Outcome
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import InputError
from ..golden.kit.process import Ended, execute
from .child.errors import line_in
from .course.examples_assembly import EXAMPLES
from .course.stages import Stage, with_needs
from .judge import Outcome, golden_of, judged, told_by, with_hints

SECONDS = 30.0  # for one stage; a right solution needs one
LATE = 10.0  # seconds more, after which a process that does not end itself is ended
LARGEST = 1 << 20  # bytes of a learner's file
RUN = "import json, sys; job = json.loads(sys.argv[1]); sys.path[:] = job['path']; "
RUN += "from numpy_llama.learn.child.main import main; main(job)"
FRAME = re.compile(r'File "(.+)", line (\d+) in ')


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
            return int(number), line_in(Path(file), int(number)).strip()
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
            outcome = told_by(read_result(raw, stage), judged(stage, folder), raw.get("lines", {}))
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
