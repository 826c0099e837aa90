"""The small examples: each call made, and its result held against what was worked out by hand."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..course.examples import Example
from ..course.examples_assembly import EXAMPLES
from ..course.stages import Stage
from .errors import about_error
from .guard import as_array

SHOWN = 24  # numbers of an array
WIDTH = 76
TINY = 1e-9  # shown as 0: the cosine of a right angle is 6e-17


def shown(array: np.ndarray) -> str:
    """A small array as a learner would write it; of a large one the shape."""
    if array.size > SHOWN:
        return f"an array of shape {array.shape}"
    digits = {"all": lambda v: f"{0.0 if abs(v) < TINY else float(v):.5g}"}
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
    if got.shape == want.shape and np.allclose(got, want, rtol=1e-5, atol=1e-6):
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
