"""What somebody types, pastes or pipes into a conversation: messages of one line, or of several."""

import os
import sys
from collections.abc import Callable, Iterator

from ...errors import InputError

MARK = '"""'  # begins and ends a message of several lines


def whole_message(line: str, more: Callable[[], str]) -> str:
    """The message that a line begins: itself, or from one MARK to the next. `more` reads a line."""
    if not line.startswith(MARK):
        return line
    text = line.removeprefix(MARK)
    while not text.rstrip().endswith(MARK):
        text += "\n" + more()
    return text.rstrip().removesuffix(MARK).strip("\n")


def piped_messages() -> Iterator[tuple[str, bool]]:
    """Each message of standard input, and whether it stood in marks: then it is no command."""
    lines = enumerate(sys.stdin.buffer, start=1)

    def read() -> str:
        number, line = next(lines)
        try:
            return str(line, "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise InputError(f"line {number} of standard input is not UTF-8 text") from None

    def more() -> str:
        try:
            return read()
        except StopIteration:
            raise InputError(f"standard input ends in a message that {MARK} began") from None

    while True:
        try:
            line = read()
        except StopIteration:
            return
        yield whole_message(line, more), line.startswith(MARK)


def typed_message() -> tuple[str, bool]:
    """The same from the keyboard. What is pasted is one message, whatever lines it has.

    Raises EOFError at Ctrl-D.
    """
    line = read_line("> ")
    return whole_message(line, lambda: read_line("… ")), line.startswith(MARK)


def half_typed() -> str:
    """What was on the line when Ctrl-C came: to clear it is not to leave."""
    readline = sys.modules.get("readline")
    return readline.get_line_buffer() if readline else ""


def edit_lines() -> None:
    """Give `input` editing, a history, and pasting of several lines at once, where there is any."""
    try:
        import readline
    except ImportError:  # Windows
        return
    if os.environ.get("TERM", "dumb") != "dumb":
        # The terminal then marks where a paste begins and ends. Python switches it off.
        readline.parse_and_bind("set enable-bracketed-paste on")


def read_line(prompt: str) -> str:
    """A line from the keyboard. Raises EOFError at its end.

    Editing needs the prompt to be written by `input`, which writes to stdout: so only where that
    is the terminal too.
    """
    if sys.stdout.isatty():
        edit_lines()
        return input(prompt)
    print(prompt, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")
