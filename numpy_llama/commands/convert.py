"""llama-np convert: any checkpoint into a Hugging Face directory."""

from pathlib import Path
from typing import get_args

import click

from ..choices import RopeLayout, Target
from .options.help import Command
from .terminal.progress import progress_bar


@click.command(cls=Command)
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The directory to make.",
)
@click.option(
    "--dtype",
    type=click.Choice(get_args(Target)),
    default="keep",
    show_default=True,
    help="Of the tensors written; keep: as stored, quantised ones as f32.",
)
@click.option(
    "--shard-size",
    type=float,
    default=5.0,
    show_default=True,
    metavar="GB",
    help="Above it the weights are cut into files of at most this size.",
)
@click.option(
    "--rope-layout",
    type=click.Choice(get_args(RopeLayout)),
    help="For an npz, which does not say how the pairs of RoPE lie.",
)
@click.option("--n-heads", type=click.IntRange(min=1), help="For an npz without a config.json.")
@click.option("--force", is_flag=True, help="Replace DIR if it is there.")
def convert(
    source: Path,
    output: Path,
    dtype: Target,
    shard_size: float,
    rope_layout: RopeLayout | None,
    n_heads: int | None,
    force: bool,
) -> None:
    """Convert the checkpoint SRC into a directory in Hugging Face's layout.

    DIR appears when it is whole, and not before.
    """
    from ..errors import TokenizerError
    from ..formats import open_checkpoint
    from ..formats.convert import convert as convert_checkpoint
    from ..tokenizers import load_tokenizer

    if not 0.001 <= shard_size <= 1e6:
        raise click.BadParameter(f"{shard_size} is not in 0.001 … 1,000,000 GB")
    checkpoint = open_checkpoint(source, rope_layout, n_heads)
    try:
        tokenizer = load_tokenizer(source)
    except TokenizerError as error:
        tokenizer = None
        click.echo(f"without a tokenizer: {error}", err=True)
    with progress_bar("converting") as progress:
        convert_checkpoint(
            checkpoint,
            output,
            dtype=dtype,
            tokenizer=tokenizer,
            progress=progress,
            shard_size=int(shard_size * 1e9),
            force=force,
        )
    click.echo(f"wrote {output}", err=True)
