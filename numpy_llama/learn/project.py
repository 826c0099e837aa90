"""The project that a learner begins with: the files of the course, without their bodies."""

import ast
from pathlib import Path

from ..formats.storage.directory import new_directory
from .course.stages import STAGES

EMPTY = "raise NotImplementedError"

README = """\
# Write a Llama

Seven files make a whole Llama, in NumPy alone. Each has functions with a docstring and no body:
write the bodies, from the first file to the last.

{stages}

Check what you have, as often as you like:

    llama-np learn check             what is right, and where the rest is wrong
    llama-np learn check --hint 2    also: which idea was missed
    llama-np learn check --hint 3    also: how it is mended
    llama-np learn check --stage norm
    llama-np learn progress          a line of marks
    llama-np learn solution norm     a right file, when you give up, or when you are done

## How to read the docstrings

- `x: (L, D)` is the shape of an array: L rows (one for each token) of D numbers (its features).
- `a = x[..., 0::2]` and `x[:, None]` are NumPy's; https://numpy.org/doc/stable/user/basics.indexing.html
- A function gives a new array and leaves what it was given as it is: `x = x + 1`, not `x += 1`.
- Loops are fine. Short is better than fast, and right is better than short.
- What you print while the small examples run is shown by `learn check`.

The later files import the earlier ones. As long as one of yours is not right yet, `learn check`
uses a right one in its place, and says so: a mistake is told once, where it is.
"""


def stub_of(text: str) -> str:
    """A file of the course without the bodies of its functions: all else is as it was.

    So a stub cannot say something else than its solution.
    """
    lines = text.splitlines(keepends=True)
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
    for function in sorted(functions, key=lambda f: -f.lineno):
        docstring = function.body[0]
        indent = " " * docstring.col_offset
        lines[docstring.end_lineno : function.end_lineno] = [f"{indent}{EMPTY}\n"]
    return "".join(lines)


def readme() -> str:
    """The README of a project."""
    width = max(len(stage.file) for stage in STAGES)
    rows = [
        f"{number}. `{stage.file}`{' ' * (width - len(stage.file))}  {stage.title}"
        for number, stage in enumerate(STAGES, start=1)
    ]
    return README.format(stages="\n".join(rows))


def start_project(target: str | Path) -> None:
    """Make a project, whole or not at all. Raises InputError for a directory that is not empty."""
    with new_directory(Path(target)) as made:
        (made / "README.md").write_text(readme(), encoding="utf-8")
        for stage in STAGES:
            (made / stage.file).write_text(stub_of(stage.solution), encoding="utf-8")
