"""llama-np chat: converse with a model."""

import secrets
import sys
from typing import Any

import click

from .chat_session import Session, say
from .options import (
    chat_template_option,
    device_option,
    dtype_option,
    model_option,
    open_model,
    sampling_options,
    stream_option,
    system_option,
    threads_option,
)

USUAL_CONTEXT = 8192  # positions at most unless -c asks for more: a long context takes gigabytes


@click.command()
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
    max_tokens: int,
    context: int | None,
    seed: int | None,
    chat_template: str | None,
    dtype: str,
    device: str,
    stream: bool | None,
    verbose: bool,
    **sampling: Any,
) -> None:
    """Converse with a model, at the terminal or one line a turn from a pipe.

    Only answers go to stdout. Lines that begin with / are commands: /help lists them. When the
    context is full the oldest turns are left out, which is said.
    """
    from ..chat import Conversation, open_template
    from ..sampling import Sampling
    from ..store.find import find_model
    from ..tokenizers import load_tokenizer

    settings = Sampling(**sampling)
    path = find_model(model)
    tokenizer = load_tokenizer(path)
    with open_template(tokenizer, chat_template) as template:
        llama = open_model(path, dtype, device, stream)
        cache = llama.new_cache(context or min(llama.config.max_context, USUAL_CONTEXT))
        conversation = Conversation(
            llama,
            tokenizer,
            template,
            cache,
            system=system,
            max_tokens=max_tokens if max_tokens >= 0 else cache.capacity,
            settings=settings,
            seed=secrets.randbits(32) if seed is None else seed,
            say=lambda line: say(f"({line})"),
        )
        session = Session(conversation, path, verbose)
        if sys.stdin is not None and sys.stdin.isatty():
            say(f"{path.name}, template: {template.name}. /help lists the commands.")
            session.run_terminal()
        else:
            session.run_pipe()
