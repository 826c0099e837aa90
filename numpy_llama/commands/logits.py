"""llama-np logits: the scores of the next token, as an array or as a list of the likeliest."""

from pathlib import Path

import click

from .options import (
    context_option,
    device_option,
    dtype_option,
    model_option,
    open_model,
    parse_ids,
    read_prompt,
    stream_option,
    threads_option,
)

SHOWN = 10  # how many tokens are listed where no file is written


@click.command()
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
) -> None:
    """The logits of the token after PROMPT; without -o, the ten likeliest next tokens."""
    if tokens is not None and prompt is not None:
        raise click.UsageError("give a PROMPT or --tokens, not both")
    if all_rows and output is None:
        raise click.UsageError("--all needs -o FILE.npy: (L, V) numbers are too many to print")
    text = read_prompt(prompt, None) if tokens is None else None

    import numpy as np

    from ..backend import to_host
    from ..generation import check_context, check_finite
    from ..sampling import Sampling, next_token_probabilities
    from ..store.find import find_model
    from ..tokenizers import load_tokenizer

    path = find_model(model)
    llama = open_model(path, dtype, device, stream)
    tokenizer = load_tokenizer(path) if text is not None or output is None else None
    if text is not None and tokenizer is not None:
        tokens = tokenizer.encode(text, special=special)
    assert tokens is not None  # one of the two was given
    check_context(len(tokens), context or llama.config.max_context)
    rows = to_host(llama.forward(tokens, last_only=not all_rows))
    check_finite(llama, tokens, rows)

    if output is not None:
        from ..formats.storage.files import writing

        with writing(output) as file:
            np.save(file, rows if all_rows else rows[-1])
    elif tokenizer is not None:
        probabilities = next_token_probabilities(rows[-1], Sampling(temperature=1.0))
        likeliest = np.argsort(-probabilities, kind="stable")[:SHOWN].tolist()
        for token in likeliest:
            # A model may have more rows than there are pieces: they pad its matrices.
            piece = tokenizer.pieces([token])[0] if token < tokenizer.vocab_size else ""
            print(f"{probabilities[token]:8.4%}  {token:>7}  {piece!r}")
