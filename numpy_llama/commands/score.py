"""llama-np score: how likely a model finds a text, token by token, and its perplexity."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    check_positions,
    device_option,
    dtype_option,
    load_text,
    model_option,
    parse_ids,
    stream_option,
    threads_option,
)
from .options.help import Command
from .terminal.progress import progress_bar
from .terminal.streams import read_prompt

if TYPE_CHECKING:
    from ..scoring import Score
    from ..tokenizers import Tokenizer


def as_values(score: "Score", tokenizer: "Tokenizer") -> dict[str, Any]:
    """Everything that `score` prints, as plain values."""
    return {
        "ids": score.ids,
        "pieces": tokenizer.pieces(score.ids),
        "logprobs": [None, *score.logprobs.tolist()],
        "scored": len(score.logprobs),
        "sum": score.sum,
        "perplexity": score.perplexity if math.isfinite(score.perplexity) else None,
        "context": score.context,
        "stride": score.stride,
    }


def rows(about: dict[str, Any]) -> list[str]:
    """A line for each token: its log-probability, id and piece."""
    listed = zip(about["logprobs"], about["ids"], about["pieces"], strict=True)
    return [
        f"{'-' if logprob is None else format(logprob, '.4f'):>9}  {token:>7}  {piece!r}"
        for logprob, token, piece in listed
    ]


def summary(score: "Score") -> str:
    """The last line."""
    return (
        f"sum {score.sum:.4f} over {len(score.logprobs)} tokens, perplexity {score.perplexity:.4f}"
    )


@click.command(cls=Command)
@click.argument("text", required=False)
@model_option
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Read the text from a file.",
)
@click.option("--tokens", callback=parse_ids, metavar="1,2,3", help="Token ids, instead of a text.")
@click.option(
    "--special", is_flag=True, help="Read the names of special tokens in TEXT as those tokens."
)
@click.option(
    "-c",
    "--context",
    type=click.IntRange(min=2),
    callback=check_positions,
    metavar="N",
    help="Tokens that the model sees at once at most. Default: its own context.",
)
@click.option(
    "--stride",
    type=click.IntRange(min=1),
    metavar="N",
    help="By how many tokens the window moves on in a longer text. Default: half the context.",
)
@dtype_option
@device_option
@stream_option
@threads_option
@click.option("--summary", "brief", is_flag=True, help="Print the last line alone.")
@click.option("--json", "as_json", is_flag=True, help="An object; the first logprob is null.")
def score(
    text: str | None,
    model: str | None,
    file: Path | None,
    tokens: list[int] | None,
    special: bool,
    context: int | None,
    stride: int | None,
    dtype: str,
    device: str,
    stream: bool | None,
    brief: bool,
    as_json: bool,
) -> None:
    """The natural log-probability of each token of TEXT, their sum, and the perplexity.

    TEXT is an argument, `-`, piped in, or of -f FILE. The first token has nothing before it and is
    not scored. In a text longer than the context every token has context - stride before it.
    """
    if tokens is not None and (text is not None or file is not None):
        raise click.UsageError("give a TEXT, -f FILE or --tokens, not two of them")
    prompt = read_prompt(text, file) if tokens is None else ""

    m = load_text(model, dtype, device, stream)
    from ..scoring import score as score_text

    ids = m.encode(prompt, special) if tokens is None else tokens
    with progress_bar("scoring") as progress:
        result = score_text(m, ids, context, stride, progress)
    about = as_values(result, m.tokenizer)
    if as_json:
        print(json.dumps(about, ensure_ascii=False))
    else:
        print("\n".join([*([] if brief else rows(about)), summary(result)]))
