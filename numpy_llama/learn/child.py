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

import numpy as np

from ..golden.replay.replay import play
from ..golden.replay.rows import empty_joined, place, visible
from ..golden.replay.schedule import Schedule
from ..model import Llama
from .assembly import ADAPTERS
from .examples import Example
from .examples_assembly import EXAMPLES
from .guard import NotRight, as_array
from .models import case_named, model_of
from .stages import SOLUTIONS, Stage, find_stage

MEMORY = 1 << 30  # bytes of data; a right solution needs a tenth of it
LARGEST_FILE = 1 << 26
SHOWN = 24  # numbers of an array
WIDTH = 76
NEAR = {"rtol": 1e-5, "atol": 1e-6}  # float32 is near enough


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


# — what is said of an error —


def line_of(error: BaseException, project: Path) -> dict[str, Any]:
    """Where in the learner's own files an error arose: the innermost line."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return {"file": Path(error.filename).name, "line": error.lineno, "source": error.text or ""}
    found, trace = {}, error.__traceback__
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.parent == project:
            found = {"file": path.name, "line": trace.tb_lineno, "source": ""}
        trace = trace.tb_next
    if found:
        lines = (project / found["file"]).read_text("utf-8", "replace").splitlines()
        found["source"] = lines[found["line"] - 1] if found["line"] <= len(lines) else ""
    return found


def sentence_of(error: BaseException) -> str:
    """An error in the words of Python, in one line."""
    if isinstance(error, MemoryError):
        return f"MemoryError: it asked for more than {MEMORY >> 30} GiB of memory"
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    if isinstance(error, SystemExit):
        return "it called exit(): a function must return"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


def about_error(error: BaseException, project: Path, function: str) -> dict[str, Any]:
    """What is told of an error in a learner's file."""
    if isinstance(error, NotImplementedError):
        return {"status": "not started", "function": function}
    if isinstance(error, NotRight):
        return {"status": "wrong", "function": error.function, "sentence": str(error)}
    at = line_of(error, project)
    return {"status": "error", "function": function, "sentence": sentence_of(error), "at": at}


# — the files —


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


# — the examples —


def shown(array: np.ndarray) -> str:
    """A small array as a learner would write it; of a large one the shape."""
    if array.size > SHOWN:
        return f"an array of shape {array.shape}"
    digits = {"all": lambda v: f"{float(v) + 0.0:.5g}"}
    text = np.array2string(array, separator=", ", formatter=digits)  # type: ignore[arg-type]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines) if sum(map(len, lines)) < WIDTH else "\n".join(lines)


def try_example(example: Example, module: ModuleType) -> dict[str, Any] | None:
    """What is wrong with the outcome of an example; None if nothing is."""
    names = {"np": np, **vars(module)}
    for line in example.setup:
        exec(line, names)
    got = as_array(example.function, eval(example.call, names))
    want = np.asarray(example.expected, np.float64)
    if got.shape == want.shape and np.allclose(got, want, **NEAR):
        return None
    shapes = "" if got.shape == want.shape else f"   (shape {got.shape}, not {want.shape})"
    return {"got": shown(got) + shapes, "expected": shown(want)}


def first_problem(stage: Stage, module: ModuleType, project: Path) -> dict[str, Any] | None:
    """The first example that does not give what it should, with its number among the stage's."""
    for function in stage.functions:
        if not callable(getattr(module, function, None)):
            said = f"{stage.file} has no {function}: its name must stay as it was"
            return {"status": "wrong", "function": function, "sentence": said}
    for number, example in enumerate(EXAMPLES[stage.name]):
        try:
            wrong = try_example(example, module)
        except BaseException as error:
            return {**about_error(error, project, example.function), "example": number}
        if wrong is not None:
            return {"status": "wrong", "function": example.function, "example": number, **wrong}
    return None


# — the whole model —


def taps_of(model: Llama, schedule: Schedule) -> dict[str, np.ndarray]:
    """What a run showed: the taps that are there in every step, their rows joined.

    What a learner calls twice, or with shapes that do not fit, is left out: others show it.
    """
    T = len(schedule.tokens)
    steps: dict[str, dict[int, np.ndarray]] = {}

    def keep(name: str, start: int, array: np.ndarray) -> None:
        steps.setdefault(name, {}).setdefault(start, np.array(array, np.float64))

    play(model, schedule, keep)
    taps = {}
    for name, arrays in steps.items():
        if len(arrays) < len(schedule.steps):
            continue
        try:
            joined = empty_joined(name, arrays[0], T)
            for start, array in arrays.items():
                place(name, array, start, joined)
        except (ValueError, IndexError):
            continue
        taps[name] = np.where(visible(T), joined, 0) if name.endswith(".scores") else joined
    return taps


def run_cases(
    stage: Stage, modules: Mapping[str, ModuleType], cases: Sequence[Mapping[str, Any]], out: Path
) -> None:
    """Leave the taps of each case."""
    for case in cases:
        plain = model_of(case_named(case["name"]), "float64")
        model = ADAPTERS[stage.name](modules)(plain.config, plain.weights)
        schedule = Schedule(tuple(case["tokens"]), tuple(case["steps"]))
        np.savez(out / f"{case['name']}.npz", **taps_of(model, schedule))  # type: ignore[arg-type]


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
        with open(os.devnull, "w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
            run_cases(stage, modules, job["cases"], out)  # a run prints hundreds of times
    except BaseException as error:
        return {**found, **(problem or about_error(error, project, ""))}
    return {**found, **(problem or {"status": "ran"})}


def main(job: Mapping[str, Any]) -> None:
    """Do a job, and write down what came of it."""
    out, project = Path(job["out"]), Path(job["project"])
    where: IO[str] = open(out / "where.txt", "w")
    faulthandler.enable(where)
    faulthandler.dump_traceback_later(job["seconds"], exit=True, file=where)
    confine()
    warnings.simplefilter("ignore")
    sys.path.append(str(project))  # last: a learner's random.py must not stand for Python's
    sys.dont_write_bytecode = True
    result = judge(job, find_stage(job["stage"]), project, out)
    sys.stdout.flush()
    (out / "result.json").write_text(json.dumps(result))
