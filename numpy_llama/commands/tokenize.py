"""llama-np tokenize: the token ids of a text."""

import json

import click

from .options import model_option
from .options.help import Command
from .terminal.streams import read_prompt


@click.command(cls=Command)
@click.argument("text", required=False)
@model_option
@click.option(
    "--special", is_flag=True, help="Read the names of special tokens in TEXT as those tokens."
)
@click.option("--json", "as_json", is_flag=True, help="An object with `ids` and `pieces`.")
def tokenize(text: str | None, model: str | None, special: bool, as_json: bool) -> None:
    """The token ids of TEXT: an argument, `-`, or piped in.

    BOS is included where the model's files say so.
    """
    text = read_prompt(text, None)
    from ..store.find import find_model
    from ..tokenizers import load_tokenizer

    tokenizer = load_tokenizer(find_model(model))
    ids = tokenizer.encode(text, special=special)
    pieces = tokenizer.pieces(ids)
    if as_json:
        print(json.dumps({"ids": ids, "pieces": pieces}, ensure_ascii=False))
        return
    for token, piece in zip(ids, pieces, strict=True):
        print(f"{token:>7}  {piece!r}")
