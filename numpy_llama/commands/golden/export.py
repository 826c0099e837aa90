"""llama-np golden export and header: what programs in other languages read, and write with."""

from pathlib import Path

import click

from ...choices import EXPORTS
from ..options.help import Command
from .shared import golden_argument, taps_option


@click.command(cls=Command)
@golden_argument
@click.option("--to", required=True, type=click.Choice(EXPORTS), help="The format.")
@taps_option
@click.option(
    "--word",
    default="float32",
    show_default=True,
    metavar="float32|bfloat16|Qm.n",
    help="What a word of --to hex is; Q7.8 has a sign, 7 integer and 8 fraction bits.",
)
@click.option("--force", is_flag=True, help="Replace OUT if it is there.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="OUT")
def export(
    golden: Path, to: str, taps: tuple[str, ...], word: str, force: bool, output: Path
) -> None:
    """Write GOLDEN in a format that other languages read."""
    from ...golden import load
    from ...golden.export.export import export as export_golden

    if word != "float32" and to != "hex":
        raise click.UsageError("--word is of --to hex: the other formats hold float32")
    detail = export_golden(load(golden), output, to, list(taps), word, force)
    click.echo(f"wrote {output}: {detail}", err=True)


@click.command(cls=Command)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="Where to write it. Default: stdout.",
)
def header(output: Path | None) -> None:
    """llama_tap.h, with which a program in C or C++ writes its intermediates."""
    from ...golden.export.c_header import header as text
    from ...golden.export.c_header import write_header

    if output is None:
        print(text(), end="")
    else:
        click.echo(f"wrote {write_header(output)}", err=True)
