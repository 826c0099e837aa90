"""Where a text comes from, and whether there is a place for what is made of it."""

import os
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import click

from ...errors import InputError

WAIT = 3.0  # seconds, after which who waits for standard input is told so


def read_text(source: Any, name: str) -> str:
    """A prompt from a binary stream, without the newline that ends it."""
    try:
        text: str = source.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text: byte {error.start} cannot be read") from None
    return str(text).removesuffix("\n")


def is_given(stream: Any) -> bool:
    """Whether standard input is a pipe or a file: neither a keyboard nor /dev/null."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError, AttributeError):  # closed, or no file at all: a test's
        return stream is not None
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def read_input() -> str:
    """All of standard input. Where it is long in coming, who may not know of it is told."""
    hint = "(reading standard input; if there is none to come, add `< /dev/null`)"
    timer = threading.Timer(WAIT, print, [hint], {"file": sys.stderr})
    timer.daemon = True
    timer.start()
    try:
        return read_text(sys.stdin.buffer, "standard input")
    finally:
        timer.cancel()


def read_joined(prompt: str | None, file: Path | None) -> str:
    """The prompt as `read_prompt` has it; after an argument a blank line, and what is piped in."""
    if prompt in (None, "-") or file is not None or not is_given(sys.stdin):
        return read_prompt(prompt, file)
    return "\n\n".join(text for text in (prompt, read_input()) if text)


def read_prompt(prompt: str | None, file: Path | None) -> str:
    """The prompt from the argument, `-f FILE`, or standard input where it is `-` or piped.

    With none of them on a terminal it is a usage error: the command never waits for a keyboard.
    """
    if prompt is not None and file is not None:
        raise click.UsageError("give a PROMPT or -f FILE, not both")
    if file is not None:
        with file.open("rb") as stream:
            return read_text(stream, str(file))
    if prompt == "-" or (prompt is None and sys.stdin is not None and not sys.stdin.isatty()):
        return read_text(sys.stdin.buffer, "standard input")
    if prompt is None:
        raise click.UsageError("no prompt: give it as an argument, with -f FILE, or pipe it in")
    return prompt


def try_output(path: Path | None) -> None:
    """Raise InputError, before the work, where a file cannot be written to `path`."""
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"{path}: is a directory, and a file is to be written")
    if not path.parent.is_dir():
        raise InputError(f"{path}: cannot be written: there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: cannot be written: {path.parent} takes no new files from you")
