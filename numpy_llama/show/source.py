"""The lines of source that made a number, found while they run: so they cannot drift from it."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from .. import taps
from ..taps import Tap

PACKAGE = Path(taps.__file__).parent


@dataclass(frozen=True)
class Source:
    """A function as it is written, and which of its lines matter here.

    first: the number of its first line in the file; marked: numbers of lines, in the same count.
    """

    file: str
    function: str
    first: int
    lines: tuple[str, ...]
    marked: tuple[int, ...] = ()

    def excerpt(self) -> list[tuple[int, str]]:
        """The marked lines with one before and one after, each with its number."""
        low, high = min(self.marked) - 1, max(self.marked) + 1
        numbered = list(enumerate(self.lines, self.first))
        kept = [(number, line) for number, line in numbered if low <= number <= high]
        indent = min(len(line) - len(line.lstrip()) for _, line in kept if line)
        return [(number, line[indent:]) for number, line in kept]


def source_of(function: Callable[..., Any] | CodeType, marked: Iterable[int] = ()) -> Source:
    """The source of a function or of its code, as this process runs it."""
    code = function if isinstance(function, CodeType) else function.__code__
    lines, first = inspect.getsourcelines(code)
    path = Path(code.co_filename)
    inside = path.is_relative_to(PACKAGE)
    name = str(path.relative_to(PACKAGE.parent)) if inside else path.name
    text = textwrap.dedent("".join(lines)).splitlines()
    return Source(name, code.co_name, first, tuple(text), tuple(marked))


def nodes(source: Source) -> list[ast.AST]:
    """The syntax tree of a function, flat; its lines are counted as in the file."""
    tree = ast.parse("\n".join(source.lines))
    return list(ast.walk(ast.increment_lineno(tree, source.first - 1)))


def assigned_names(node: ast.AST) -> set[str]:
    """The variables that a statement gives a value to."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    return {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}


def shown_name(node: ast.AST) -> str | None:
    """The variable that a call `tap(name, variable)` shows, if it is such a call."""
    if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "tap":
        return None
    return getattr(node.args[1], "id", None)


def making(code: CodeType, line: int) -> Source:
    """The function around the tap at `line`; marked is every assignment of what it shows.

    Only those since the last time that the same variable was shown: x is tapped twice in a block.
    """
    source = source_of(code)
    flat = nodes(source)
    taps = [(n.lineno, shown_name(n)) for n in flat if isinstance(n, ast.Call) and shown_name(n)]
    shown = next((name for number, name in taps if number == line), None)
    before = max((n for n, name in taps if name == shown and n < line), default=0)
    found = [
        n
        for n in flat
        if isinstance(n, ast.stmt) and shown in assigned_names(n) and before < n.lineno < line
    ]
    marked = [i for n in found for i in range(n.lineno, (n.end_lineno or n.lineno) + 1)]
    return source_of(code, marked or [line])


def calling(function: Callable[..., Any] | CodeType, called: str) -> Source:
    """The function, with the lines marked in which it calls something of this name."""
    source = source_of(function)
    names = [(n, getattr(n.func, "attr", "")) for n in nodes(source) if isinstance(n, ast.Call)]
    return source_of(function, [n.lineno for n, name in names if name == called])


class Sites:
    """A tap that passes on what it is shown, and notes which line of which function showed it."""

    def __init__(self, tap: Tap):
        self.tap = tap
        self.found: dict[str, tuple[CodeType, int]] = {}

    def __call__(self, name: str, array: np.ndarray) -> None:
        self.tap(name, array)
        kind = name.split(".", 2)[2] if name.startswith("layers.") else name
        if kind in self.found:
            return
        frame = inspect.currentframe()
        frame = frame.f_back if frame else None
        # `within` stands between: it only makes the name longer.
        while frame and frame.f_code.co_filename == taps.__file__:
            frame = frame.f_back
        if frame:
            self.found[kind] = frame.f_code, frame.f_lineno

    def source(self, kind: str) -> Source:
        """Where a tap was made, by its name without the layer."""
        return making(*self.found[kind])


def formula(function: Callable[..., Any]) -> str:
    """The formula of a docstring: its second paragraph, where that is one line; else ""."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    second = paragraphs[1] if len(paragraphs) > 1 else ""
    return second if "\n" not in second and any(sign in second for sign in "=←") else ""
