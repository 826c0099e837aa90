"""Run a program that is not ours: no shell, bounded in time, and of what it prints the end."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from ...errors import InputError

PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
KEPT = 1 << 14  # bytes of what a program printed last
PATIENCE = 2.0  # seconds to wait for the rest of what a finished program printed


def split_command(command: str, known: Sequence[str]) -> list[str]:
    """The words of a command, as a shell would cut them; nothing else of a shell is understood.

    Raises InputError for quotes that are not closed, no words, or a {placeholder} that is unknown.
    """
    try:
        words = shlex.split(command)
    except ValueError as wrong:
        raise InputError(f"the command {command!r} cannot be cut into words: {wrong}") from None
    if not words or not words[0]:
        raise InputError("the command is empty: give a program and its arguments")
    for word in words:
        for name in PLACEHOLDER.findall(word):
            if name not in known:
                there = ", ".join(f"{{{name}}}" for name in known)
                raise InputError(f"the command has {{{name}}}; what is filled in are {there}")
    return words


def filled(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The words with each {placeholder} replaced, once: values are not looked into."""
    return [PLACEHOLDER.sub(lambda found: values[found[1]], word) for word in words]


class Tail(threading.Thread):
    """Reads a pipe to its end, so that its writer never waits, and keeps the last of it."""

    def __init__(self, pipe: IO[bytes]):
        super().__init__(daemon=True)
        self.pipe = pipe
        self.kept = b""
        self.start()

    def run(self) -> None:
        with self.pipe:
            while chunk := os.read(self.pipe.fileno(), KEPT):
                self.kept = (self.kept + chunk)[-KEPT:]


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int | None  # None: it was ended, because its time was over; below zero: by a signal
    printed: str  # the end of its output and its errors

    @property
    def last_line(self) -> str:
        """The last line that it printed, where programs say what went wrong; safe to print."""
        lines = [line.strip() for line in self.printed.splitlines() if line.strip()]
        last = lines[-1][:400] if lines else ""
        return "".join(c if c.isprintable() else "?" for c in last)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program and what it started."""
    if os.name == "posix":  # it leads a group of its own
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone by itself meanwhile
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def execute(arguments: Sequence[str], timeout: float) -> Ended:
    """Run a program to its end, or for `timeout` seconds. Its standard input is empty.

    Raises InputError for one that cannot be started.
    """
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its children can be ended with it
        )
    except (OSError, ValueError) as wrong:
        reason = wrong.strerror if isinstance(wrong, OSError) else wrong
        raise InputError(f"{arguments[0]}: cannot be started: {reason}") from None
    assert process.stdout is not None
    tail = Tail(process.stdout)
    code: int | None = None
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        end(process)
    except BaseException:  # Ctrl-C is not seen by a program in a session of its own
        end(process)
        raise
    tail.join(PATIENCE)  # a program in the background may hold the pipe open
    return Ended(code, tail.kept.decode("utf-8", "replace"))
