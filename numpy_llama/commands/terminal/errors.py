"""Every error that a user can act on, as one sentence on stderr and an exit code; no traceback."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import click

from ...errors import LlamaError
from .harmless import one_line

SMALLER_CONTEXT = "a shorter prompt or a smaller context (-c) needs less"
SMALLER_GOLDEN = "record a golden of fewer tokens, or of fewer --taps"


class CannotJudge(click.ClickException):
    """A check that could not be made: 1 would say that the candidate diverged."""

    exit_code = 2


def sentence(error: OSError) -> str:
    """What the operating system refused, as a sentence that names the file."""
    name = f"{os.fspath(error.filename)}: " if error.filename else ""
    return f"{name}{error.strerror or error}"


@contextmanager
def one_sentence(
    failure: type[click.ClickException] = click.ClickException, less_memory: str = SMALLER_CONTEXT
) -> Iterator[None]:
    """End the command as `failure` says on an error of a user's, and let all others through.

    less_memory: what to do where memory is short.
    """
    try:
        yield
    except LlamaError as error:
        raise failure(one_line(str(error))) from None
    except BrokenPipeError:
        raise  # `| head` has seen enough; click ends quietly
    except OSError as error:
        raise failure(one_line(sentence(error))) from None
    except MemoryError as error:
        what = f"out of memory: {str(error) or 'no more could be had'}; {less_memory}"
        raise failure(what) from None


def exit_2_on_errors() -> AbstractContextManager[None]:
    """What ends other commands with 1 ends a check with 2."""
    return one_sentence(CannotJudge, SMALLER_GOLDEN)
