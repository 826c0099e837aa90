"""What is told of an error in a learner's file: their line, and Python's words; nothing of ours."""

from pathlib import Path
from typing import Any

from .guard import NotRight

MEMORY = 1 << 30  # bytes of data; a right solution needs a tenth of it


def line_in(file: Path, line: int) -> str:
    """The text of a line, counted from 1; "" if the file does not have it."""
    return "".join(file.read_text("utf-8", "replace").splitlines()[line - 1 : line])


def line_of(error: BaseException, project: Path) -> dict[str, Any]:
    """Where in the learner's own files an error arose: the innermost line."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return {"file": Path(error.filename).name, "line": error.lineno, "source": error.text or ""}
    file, line = None, 0
    trace = error.__traceback__
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.parent == project:
            file, line = path, trace.tb_lineno
        trace = trace.tb_next
    return {"file": file.name, "line": line, "source": line_in(file, line)} if file else {}


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
