"""llama-np logits: the scores of the next token, as an array or as a list of the likeliest."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    context_option,
    device_option,
    dtype_option,
    load_text,
    model_option,
    parse_ids,
    stream_option,
    threads_option,
)
from .options.help import Command
from .terminal.streams import read_prompt, try_output

if TYPE_CHECKING:
    import numpy as np


def write_array(path: Path, array: "np.ndarray") -> None:
    """A NumPy file, whole or not at all."""
    import numpy as np

    from ..formats.storage.files import writing

    with writing(path) as file:
        np.save(file, array)


def print_likeliest(found: list[dict[str, Any]], ids: list[int], as_json: bool) -> None:
    """For people a line each; as JSON, with the ids of the prompt."""
    if as_json:
        print(json.dumps({"prompt_ids": ids, "top": found}, ensure_ascii=False))
        return
    for each in found:
        print(f"{each['probability']:6.2%}  {each['id']:>7}  {each['piece']!r}")


@click.command(cls=Command)
@click.argument("prompt", required=False)
@model_option
@click.option(
    "--tokens", callback=parse_ids, metavar="1,2,3", help="Token ids, instead of a prompt."
)
@click.option(
    "--special",
    is_flag=True,
    help="Read the names of special tokens in the prompt as those tokens.",
)
@click.option(
    "--all", "all_rows", is_flag=True, help="After every token, (L, V), not after the last, (V,)."
)
@context_option
@dtype_option
@device_option
@stream_option
@threads_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.npy",
    help="Write the logits to a NumPy file, in the dtype of the run.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="How many of the likeliest tokens are listed where no file is written.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="The list as JSON, with logits and log-probabilities."
)
def logits(
    prompt: str | None,
    model: str | None,
    tokens: list[int] | None,
    special: bool,
    all_rows: bool,
    context: int | None,
    dtype: str,
    device: str,
    stream: bool | None,
    output: Path | None,
    top: int,
    as_json: bool,
) -> None:
    """The logits of the token after PROMPT; without -o, the likeliest next tokens."""
    if tokens is not None and prompt is not None:
        raise click.UsageError("give a PROMPT or --tokens, not both")
    if all_rows and output is None:
        raise click.UsageError("--all needs -o FILE.npy: (L, V) numbers are too many to print")
    if as_json and output is not None:
        raise click.UsageError("--json is for the list, and -o for all logits: give one of them")
    try_output(output)
    text = read_prompt(prompt, None) if tokens is None else None

    m = load_text(model, dtype, device, stream)
    tokenizer = m.tokenizer if output is None else None  # if it is missing, say so now
    ids = (tokens or []) if text is None else m.encode(text, special)
    rows = m.logits(ids, last_only=not all_rows, context=context)
    if output is not None:
        write_array(output, rows if all_rows else rows[-1])
    elif tokenizer is not None:
        from ..scoring import likeliest

        print_likeliest(likeliest(rows[-1], tokenizer, top), ids, as_json)
