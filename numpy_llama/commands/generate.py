"""llama-np generate: continue a text."""

import sys
import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import click

from .options import (
    chat_template_option,
    context_option,
    device_option,
    dtype_option,
    load_text,
    model_option,
    sampling_options,
    stream_option,
    system_option,
    text_options,
    threads_option,
)
from .options.help import Command
from .terminal.harmless import write_text
from .terminal.progress import Passing, watched
from .terminal.stats import report, stats_of
from .terminal.streams import read_joined, try_output


def check_usage(chat: bool, special: bool, system: str | None, template: str | None) -> None:
    """Refuse options that do not go together."""
    if not chat and (system is not None or template is not None):
        raise click.UsageError("-s and --chat-template are for --chat")
    if chat and special:
        raise click.UsageError("--special is for raw prompts: a message is always text")


def conversation(system: str | None, text: str) -> list[dict[str, str]]:
    """The message of a user, after the system message if there is one."""
    from ..chat import message

    return [*([message("system", system)] if system else []), message("user", text)]


def print_as_it_comes(pieces: Iterable[str]) -> None:
    """Each piece of a text at once, then the newline that ends it.

    Ctrl-C too leaves a terminal at the beginning of a line.
    """
    try:
        for piece in pieces:
            write_text(piece)
    except KeyboardInterrupt:
        if sys.stdout.isatty():
            write_text("\n")
        raise
    write_text("\n")


@click.command(cls=Command)
@click.argument("prompt", required=False)
@model_option
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Read the prompt from a file.",
)
@click.option(
    "-n",
    "--max-tokens",
    "--n-predict",
    type=click.IntRange(min=-1),
    default=256,
    show_default=True,
    metavar="N",
    help="Tokens at most; -1: until the model ends, or the context does.",
)
@context_option
@sampling_options
@click.option(
    "--stop",
    multiple=True,
    metavar="TEXT",
    help="End before this text; can be given more than once.",
)
@click.option("--ignore-eos", is_flag=True, help="Go on where the model would end.")
@click.option(
    "--special",
    is_flag=True,
    help="Read the names of special tokens in the prompt as those tokens.",
)
@click.option(
    "--chat",
    is_flag=True,
    help="Take the prompt as a message to an assistant, and print the answer.",
)
@system_option
@chat_template_option
@click.option("--echo", is_flag=True, help="Print the prompt before its continuation.")
@dtype_option
@device_option
@stream_option
@threads_option
@click.option("-v", "--verbose", is_flag=True, help="Print speed and memory to stderr at the end.")
@click.option(
    "--stats-json",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write speed and memory to a file.",
)
def generate(
    prompt: str | None,
    file: Path | None,
    model: str | None,
    dtype: str,
    device: str,
    stream: bool | None,
    chat: bool,
    system: str | None,
    chat_template: str | None,
    special: bool,
    echo: bool,
    verbose: bool,
    stats_json: Path | None,
    **options: Any,
) -> None:
    """Continue PROMPT: an argument, `-` or piped standard input, or -f FILE.

    What is piped in beside an argument follows it, after a blank line; in a loop that reads its
    own standard input, add `< /dev/null`.

    Prints the continuation (with --chat, the answer) as it comes, and nothing else, to stdout.
    """
    check_usage(chat, special, system, chat_template)
    settings = text_options(**options)
    try_output(stats_json)
    text = read_joined(prompt, file)
    begun = time.perf_counter()
    m = load_text(model, dtype, device, stream, chat_template=chat_template)
    asked = conversation(system, text) if chat else m.encode(text, special)
    progress = Passing("reading the prompt")
    m.decoding = watched(m.decoding, progress)
    completion = m.stream(asked, options=settings)
    load_seconds = time.perf_counter() - begun
    try:
        with progress:
            first = next(completion, "")
        print_as_it_comes(chain([text] if echo else [], [first], completion))
    finally:  # also for what Ctrl-C cut short
        report(stats_of(str(m.path), load_seconds, completion), verbose, stats_json)
