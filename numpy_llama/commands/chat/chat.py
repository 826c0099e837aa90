"""llama-np chat: converse with a model."""

import sys
from typing import TYPE_CHECKING, Any

import click

from ..options import (
    chat_template_option,
    check_positions,
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
from ..options.help import Command
from ..terminal.progress import watched
from .session import Session, say

if TYPE_CHECKING:
    from ...chat import Conversation, Template
    from ...completion import Options
    from ...text import TextModel

USUAL_CONTEXT = 8192  # positions at most unless -c asks for more: a long context takes gigabytes


def begin(
    m: "TextModel", template: "Template", options: "Options", system: str | None
) -> "Conversation":
    """A conversation that nobody has said anything in, with its cache."""
    from ...chat import Conversation

    context = options.context or min(m.llama.config.max_context, USUAL_CONTEXT)
    return Conversation(
        m.llama,
        m.tokenizer,
        template,
        m.llama.new_cache(context),
        system=system,
        max_tokens=context if options.max_tokens is None else options.max_tokens,
        settings=options,
        seed=options.new_seed(),
        say=lambda line: say(f"({line})"),
    )


@click.command(cls=Command)
@model_option
@system_option
@click.option(
    "-n",
    "--max-tokens",
    "--n-predict",
    type=click.IntRange(min=-1),
    default=1024,
    show_default=True,
    metavar="N",
    help="Tokens of an answer at most; -1: until the model ends, or the context does.",
)
@click.option(
    "-c",
    "--context",
    type=click.IntRange(min=1),
    callback=check_positions,
    metavar="N",
    help=f"Positions in the KV cache. Default: the model's own context, up to {USUAL_CONTEXT}.",
)
@sampling_options
@chat_template_option
@dtype_option
@device_option
@stream_option
@threads_option
@click.option("-v", "--verbose", is_flag=True, help="Print what each turn cost to stderr.")
def chat(
    model: str | None,
    system: str | None,
    chat_template: str | None,
    dtype: str,
    device: str,
    stream: bool | None,
    verbose: bool,
    **options: Any,
) -> None:
    """Converse with a model, at the terminal or one line a turn from a pipe.

    Only answers go to stdout. Lines that begin with / are commands: /help lists them; \"\"\" begins
    and ends a message of several lines. When the context is full the oldest turns are left out,
    which is said. A wrong command is said too, and the exit status of a piped run is then 1.
    """
    from ...chat import open_template
    from ...store.find import find_model
    from ...tokenizers import load_tokenizer

    settings = text_options(**options)
    path = find_model(model)
    tokenizer = load_tokenizer(path)
    with open_template(tokenizer, chat_template) as template:  # before the weights: it may be none
        m = load_text(path, dtype, device, stream, tokenizer=tokenizer)
        conversation = begin(m, template, settings, system)
        session = Session(conversation, path, verbose)
        conversation.model = watched(m.decoding, lambda done, total: session.reading(done, total))
        if sys.stdin is not None and sys.stdin.isatty():
            say(f"{path.name}, template: {template.name}. /help lists the commands.")
            session.run_terminal()
        elif not session.run_pipe():
            sys.exit(1)
