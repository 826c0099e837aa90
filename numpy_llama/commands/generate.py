"""llama-np generate: continue a text."""

import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .options import (
    chat_template_option,
    context_option,
    device_option,
    dtype_option,
    model_option,
    open_model,
    read_prompt,
    sampling_options,
    stream_option,
    system_option,
    threads_option,
)
from .stats import Stats


def encode_message(
    tokenizer: Any, choice: str | None, system: str | None, text: str
) -> tuple[list[int], tuple[int, ...], tuple[str, ...]]:
    """The tokens of a conversation of one message; the ids and the texts that end its answer."""
    from ..chat import answer_ends, encode_chat, message, open_template

    opening = [message("system", system)] if system else []
    with open_template(tokenizer, choice) as template:
        tokens = encode_chat(tokenizer, template, [*opening, message("user", text)])
        return tokens, *answer_ends(tokenizer, template)


def timed(ids: Iterable[int], arrivals: list[float]) -> Iterator[int]:
    """The same ids, the time at which each came put down in `arrivals`."""
    for token in ids:
        arrivals.append(time.perf_counter())
        yield token


@click.command()
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
    max_tokens: int,
    context: int | None,
    seed: int | None,
    stop: tuple[str, ...],
    ignore_eos: bool,
    special: bool,
    chat: bool,
    system: str | None,
    chat_template: str | None,
    echo: bool,
    dtype: str,
    device: str,
    stream: bool | None,
    verbose: bool,
    stats_json: Path | None,
    **sampling: Any,
) -> None:
    """Continue PROMPT: an argument, `-` or piped standard input, or -f FILE.

    Prints the continuation (with --chat, the answer) as it comes, and nothing else, to stdout.
    """
    if not chat and (system is not None or chat_template is not None):
        raise click.UsageError("-s and --chat-template are for --chat")
    if chat and special:
        raise click.UsageError("--special is for raw prompts: a message is always text")
    text = read_prompt(prompt, file)
    begun = time.perf_counter()
    from ..errors import InputError
    from ..generation import check_context, text_of
    from ..generation import generate as generate_tokens
    from ..sampling import Sampling
    from ..store.find import find_model
    from ..tokenizers import load_tokenizer

    settings = Sampling(**sampling)
    if "" in stop:
        raise InputError("--stop needs a text: the empty one is found everywhere")
    path = find_model(model)
    llama = open_model(path, dtype, device, stream)
    tokenizer = load_tokenizer(path)
    stop_ids = tokenizer.eos_ids
    if chat:
        tokens, stop_ids, ends = encode_message(tokenizer, chat_template, system, text)
        stop = (*stop, *ends)
    else:
        tokens = tokenizer.encode(text, special=special)

    limit = context or llama.config.max_context
    check_context(len(tokens), limit)
    if max_tokens < 0:
        max_tokens = limit  # the cache ends it
    cache = llama.new_cache(min(limit, len(tokens) + max_tokens))
    stop_ids = () if ignore_eos else stop_ids
    seed = secrets.randbits(32) if seed is None else seed
    stats = Stats(str(path), seed, time.perf_counter() - begun, len(tokens))

    start = time.perf_counter()
    arrivals: list[float] = []
    ids = generate_tokens(llama, tokens, max_tokens, settings, seed, stop_ids, cache)
    pieces = text_of(timed(ids, arrivals), tokenizer.stream(tokens), stop)
    try:
        if echo:
            print(text, end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
        print(flush=True)
    finally:  # also for what Ctrl-C cut short
        stats.measure(start, arrivals)
        if verbose:
            print(stats.line(), file=sys.stderr)
        if stats_json:
            from ..formats.storage.files import write_json

            write_json(stats_json, asdict(stats))
