"""A conversation at the terminal, or from a pipe: lines in, answers out; `/` begins a command."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, LlamaError
from .errors import sentence
from .terminal import one_line, write_text

if TYPE_CHECKING:
    from ..chat import Conversation

HELP = """\
/reset         forget the conversation, not the system message
/system TEXT   set the system message; without TEXT, have none
/save FILE     write the conversation to a new file, as JSON
/help          this list
/exit          leave, as Ctrl-D does
Ctrl-C stops an answer; at the prompt, a second one leaves."""


def say(line: str) -> None:
    """Something for the user, which is not an answer."""
    print(line, file=sys.stderr, flush=True)


class Session:
    """The state of one run of `llama-np chat`."""

    def __init__(self, conversation: "Conversation", model: Path, verbose: bool):
        self.conversation, self.model, self.verbose = conversation, model, verbose
        self.saved: set[Path] = set()  # files that this session may overwrite
        self.interrupted = False  # whether the last thing that happened was a Ctrl-C
        self.commands: dict[str, Callable[[str], None]] = {
            "/reset": self.reset,
            "/system": self.system,
            "/save": self.save,
            "/help": lambda argument: say(HELP),
        }

    def run_terminal(self) -> None:
        """Converse with whoever types. An error costs them one line, not the conversation."""
        for line in self.typed_lines():
            try:
                if not self.take(line):
                    return
            except LlamaError as error:
                say(f"Error: {one_line(str(error))}")
            except OSError as error:
                if isinstance(error, BrokenPipeError):
                    raise
                say(f"Error: {one_line(sentence(error))}")
            except KeyboardInterrupt:
                self.interrupted = True
                print(flush=True)
                say("(stopped; Ctrl-C again leaves)")

    def run_pipe(self) -> None:
        """Answer each line of standard input. Errors and Ctrl-C end it, as they end any command."""
        for number, line in enumerate(sys.stdin.buffer, start=1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                raise InputError(f"line {number} of standard input is not UTF-8 text") from None
            if not self.take(text.rstrip("\r\n")):
                return

    def typed_lines(self) -> Iterator[str]:
        """Lines from the keyboard until Ctrl-D. Raises KeyboardInterrupt at a second Ctrl-C."""
        while True:
            try:
                line = read_line("> ")
            except EOFError:
                say("")
                return
            except KeyboardInterrupt:
                say("")
                if self.interrupted and not half_typed():
                    raise
                self.interrupted = True
                say("(Ctrl-C again, Ctrl-D or /exit leaves)")
                continue
            self.interrupted = False
            yield line

    def take(self, line: str) -> bool:
        """Do what a line says; False if that is to leave."""
        if not line.strip():
            return True
        if not line.startswith("/"):
            self.answer(line)
            return True
        name, _, argument = line.strip().partition(" ")
        if name == "/exit":
            return False
        if name not in self.commands:
            raise InputError(
                f"there is no command {name}; /help lists them. A message may begin with a space"
            )
        self.commands[name](argument.strip())
        return True

    def answer(self, text: str) -> None:
        """Print the answer as it comes, without the white space that it begins with."""
        start = time.perf_counter()
        begun = False
        with closing(self.conversation.ask(text)) as pieces:
            for piece in pieces:
                shown = piece if begun else piece.lstrip()
                begun = begun or bool(shown)
                write_text(shown)
        write_text("\n")
        if self.verbose:
            say(f"{self.cost()}, {time.perf_counter() - start:.2f} s")

    def cost(self) -> str:
        """What the last turn cost, in tokens."""
        told = self.conversation
        return (
            f"{told.fed} tokens read, {told.reused} in the cache already, {told.answered} answered"
        )

    def reset(self, argument: str) -> None:
        self.conversation.reset()
        say("the conversation begins anew")

    def system(self, argument: str) -> None:
        self.conversation.system = argument or None
        say("the system message is set" if argument else "there is no system message")

    def save(self, argument: str) -> None:
        if not argument:
            raise InputError("/save needs the name of a file")
        path = Path(argument).expanduser()
        if path.exists() and path.resolve() not in self.saved:
            raise InputError(f"{path} is there already, and was not written by this conversation")
        from ..formats.storage.files import write_json

        write_json(path, {"model": str(self.model), "messages": self.conversation.messages})
        self.saved.add(path.resolve())
        say(f"saved to {path}")


def half_typed() -> str:
    """What was on the line when Ctrl-C came: to clear it is not to leave."""
    readline = sys.modules.get("readline")
    return readline.get_line_buffer() if readline else ""


def read_line(prompt: str) -> str:
    """A line from the keyboard. Raises EOFError at its end.

    Editing needs the prompt to be written by `input`, which writes to stdout: so only where that
    is the terminal too.
    """
    if sys.stdout.isatty():
        try:
            import readline  # noqa: F401  (gives `input` editing and a history)
        except ImportError:  # Windows
            pass
        return input(prompt)
    print(prompt, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")
