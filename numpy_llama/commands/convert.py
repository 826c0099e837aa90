"""llama-np convert: any checkpoint into a Hugging Face directory."""

from pathlib import Path

import click

from .progress import progress_bar


@click.command()
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
    type=click.Choice(["keep", "f32", "f16", "bf16"]),
    default="keep",
    show_default=True,
    help="Of the tensors written; keep: as stored, quantised ones as f32.",
)
@click.option("--force", is_flag=True, help="Replace DIR if it is there.")
def convert(source: Path, output: Path, dtype: str, force: bool) -> None:
    """Convert the checkpoint SRC into a directory in Hugging Face's layout.

    DIR appears when it is whole, and not before.
    """
    from ..errors import TokenizerError
    from ..formats import open_checkpoint
    from ..formats.convert import convert as convert_checkpoint
    from ..tokenizers import load_tokenizer

    checkpoint = open_checkpoint(source)
    try:
        tokenizer = load_tokenizer(source)
    except TokenizerError as error:
        tokenizer = None
        click.echo(f"without a tokenizer: {error}", err=True)
    with progress_bar("converting") as progress:
        convert_checkpoint(
            checkpoint, output, dtype=dtype, tokenizer=tokenizer, progress=progress, force=force
        )
    click.echo(f"wrote {output}", err=True)
