"""A conversation at the terminal, or from a pipe: lines in, answers out; `/` begins a command."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError, LlamaError
from ...wording import did_you_mean
from ..terminal.errors import sentence
from ..terminal.harmless import one_line, write_text
from ..terminal.progress import Passing
from .messages import half_typed, piped_messages, typed_message

if TYPE_CHECKING:
    from ...chat import Conversation

HELP = '''\
/reset         forget the conversation, not the system message; also /clear
/regenerate    answer the last message again, with other draws
/system TEXT   set the system message; without TEXT, have none
/save FILE     write the conversation to a new file, as JSON
/load FILE     go on with a conversation that was saved
/help          this list
/exit          leave, as Ctrl-D does
""" begins a message of several lines, and ends it; what is pasted is one message.
Ctrl-C stops an answer; at the prompt, a second one leaves.'''


def say(line: str) -> None:
    """Something for the user, which is not an answer."""
    print(line, file=sys.stderr, flush=True)


class Session:
    """The state of one run of `llama-np chat`."""

    def __init__(self, conversation: "Conversation", model: Path, verbose: bool):
        self.conversation, self.model, self.verbose = conversation, model, verbose
        self.saved: set[Path] = set()  # files that this session may overwrite
        self.reading = Passing("")  # how far the model has read the conversation
        self.interrupted = False  # whether the last thing that happened was a Ctrl-C
        self.commands: dict[str, Callable[[str], None]] = {
            "/reset": self.reset,
            "/clear": self.reset,
            "/regenerate": self.regenerate,
            "/load": self.load,
            "/system": self.system,
            "/save": self.save,
            "/help": lambda argument: say(HELP),
        }

    def run_terminal(self) -> None:
        """Converse with whoever types. An error costs them one line, not the conversation."""
        for text, literal in self.typed_messages():
            try:
                if literal or not self.is_command(text):
                    self.answer(text)
                elif not self.command(text):
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

    def run_pipe(self) -> bool:
        """Answer each message of standard input; whether every command was understood.

        A wrong command is told, and the next line read. Other errors, and Ctrl-C, end it.
        """
        right = True
        for text, literal in piped_messages():
            if literal or not self.is_command(text):
                self.answer(text)
                continue
            try:
                if not self.command(text):
                    break
            except LlamaError as error:
                right = False
                say(f"Error: {one_line(str(error))}")
        return right

    def typed_messages(self) -> Iterator[tuple[str, bool]]:
        """What is typed until Ctrl-D. Raises KeyboardInterrupt at a second Ctrl-C."""
        while True:
            try:
                message = typed_message()
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
            yield message

    def is_command(self, text: str) -> bool:
        """Whether a message is for this program; a text of several lines may begin with a path."""
        name = text.split(maxsplit=1)[0] if text.strip() else ""
        known = name in self.commands or name == "/exit"
        return text.startswith("/") and ("\n" not in text or known)

    def command(self, text: str) -> bool:
        """Do what a line says; False if that is to leave."""
        name, *argument = text.split(maxsplit=1)
        if name == "/exit":
            return False
        if name not in self.commands:
            hint = did_you_mean(name, [*self.commands, "/exit"])
            raise InputError(
                f"there is no command {name}{hint}; /help lists them. A message may begin with a "
                "space"
            )
        self.commands[name](argument[0].strip() if argument else "")
        return True

    def answer(self, text: str) -> None:
        """Print the answer as it comes, without the white space that it begins with."""
        if not text.strip():
            return
        start = time.perf_counter()
        begun = False
        with closing(self.conversation.ask(text)) as pieces:
            with Passing("reading the conversation") as self.reading:
                first = next(pieces, "")
            for piece in chain([first], pieces):
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

    def regenerate(self, argument: str) -> None:
        turns = self.conversation.turns
        if len(turns) < 2:
            raise InputError("there is no answer yet to give anew")
        if self.conversation.settings.temperature == 0:
            say("(the likeliest answer, always: --temp 0.7 would give another)")
        count, last = len(turns), turns[-2:]
        del turns[-2:]
        self.conversation.tries += 1
        try:
            self.answer(last[0]["content"])
        finally:
            if len(turns) < count:  # nothing came of it
                turns.extend(last)

    def load(self, argument: str) -> None:
        if not argument:
            raise InputError("/load needs the name of a file")
        from ...chat.saved import read_messages

        path = Path(argument).expanduser()
        self.conversation.restore(read_messages(path))
        self.saved.add(path.resolve())
        say(f"{len(self.conversation.turns) // 2} turns of {path}")

    def save(self, argument: str) -> None:
        if not argument:
            raise InputError("/save needs the name of a file")
        path = Path(argument).expanduser()
        if path.exists() and path.resolve() not in self.saved:
            raise InputError(f"{path} is there already, and was not written by this conversation")
        from ...formats.storage.files import write_json

        write_json(path, {"model": str(self.model), "messages": self.conversation.messages})
        self.saved.add(path.resolve())
        say(f"saved to {path}")
