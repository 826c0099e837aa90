"""Runs a learner's file, in a process of its own: bounded in memory and time, whatever it does.

check.py starts it with a job, and finds in the job's folder: result.json, what the examples gave;
NAME.npz, the taps of a case; where.txt, the line that was running when the process was ended.
What is printed is the learner's.
"""

import faulthandler
import importlib.util
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from ..course.stages import SOLUTIONS, Stage, find_stage
from .cases import run_cases
from .errors import MEMORY, about_error
from .trial import first_problem

LARGEST_FILE = 1 << 26


def confine() -> None:
    """Let the system refuse more memory, or a larger file, than any right solution needs."""
    try:
        import resource
    except ImportError:  # Windows: time is the only bound
        return
    for name, limit in {"DATA": MEMORY, "FSIZE": LARGEST_FILE, "CORE": 0}.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, hard))


def load(name: str, folder: Path) -> ModuleType:
    """Run a file as the module that the files of later stages import by its name."""
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load_all(stage: Stage, project: Path, ours: Sequence[str]) -> dict[str, ModuleType]:
    """The stage's own file, after those that it builds on: `ours` where theirs is not right yet."""
    needs = {name: load(name, SOLUTIONS if name in ours else project) for name in stage.needs}
    return {**needs, stage.name: load(stage.name, project)}


def judge(job: Mapping[str, Any], stage: Stage, project: Path, out: Path) -> dict[str, Any]:
    """Try the examples, then the cases. What an example shows is told before what a case shows."""
    try:
        modules = load_all(stage, project, job["ours"])
    except BaseException as error:
        return about_error(error, project, "")
    problem = first_problem(stage, modules[stage.name], project)
    lines = {
        name: getattr(getattr(modules[stage.name], name, None), "__code__", None)
        for name in stage.functions
    }
    found = {"lines": {name: code.co_firstlineno for name, code in lines.items() if code}}
    if problem is not None and problem["status"] != "wrong":
        return {**found, **problem}
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nothing,
            redirect_stdout(nothing),
            redirect_stderr(nothing),
        ):
            run_cases(stage, modules, job["cases"], out)  # a run prints hundreds of times
    except BaseException as error:
        return {**found, **(problem or about_error(error, project, ""))}
    return {**found, **(problem or {"status": "ran"})}


def main(job: Mapping[str, Any]) -> None:
    """Do a job, and write down what came of it."""
    out, project = Path(job["out"]), Path(job["project"])
    where: IO[str] = open(out / "where.txt", "w", encoding="utf-8")
    faulthandler.enable(where)
    faulthandler.dump_traceback_later(job["seconds"], exit=True, file=where)
    confine()
    warnings.simplefilter("ignore")
    sys.path.append(str(project))  # last: a learner's random.py must not stand for Python's
    sys.dont_write_bytecode = True
    result = judge(job, find_stage(job["stage"]), project, out)
    sys.stdout.flush()
    (out / "result.json").write_text(json.dumps(result), encoding="utf-8")
