"""llama-np golden kit: make a conformance kit, and prove that it shows every known fault."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ..options import threads_option
from ..options.help import Command
from .shared import passing_folder, telling


@click.command(cls=Command)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the kit goes.",
)
@click.option(
    "--no-detect",
    is_flag=True,
    help="Let no golden say which faults it can see: quicker.",
)
@click.option(
    "--coverage",
    "prove",
    is_flag=True,
    help="Prove the kit: try every known fault on its cases. Exits 1 if one is not shown.",
)
@threads_option
def kit(output: Path | None, no_detect: bool, prove: bool) -> None:
    """Make a conformance kit: small models, and what each must give.

    \b
    llama-np golden kit -o kit
    llama-np golden run --kit kit --command './mine {model} {tokens} {out}'

    Each model is there as a Hugging Face directory, and where the format can hold it as GGUF and
    as llama2.c's .bin. kit.json says what each is for. The weights are the same bits everywhere.
    """
    if output is None and not prove:
        raise click.UsageError("give -o DIR to make a kit, --coverage to prove it, or both")
    from ...golden.kit.kit import write_kit

    with made_in(output) as place:
        with telling("making the kit") as progress:
            write_kit(place, detect=output is not None and not no_detect, progress=progress)
        if output is not None:
            click.echo(f"wrote {output}", err=True)
        if prove and not print_coverage(place):
            sys.exit(1)


@contextmanager
def made_in(output: Path | None) -> Iterator[Path]:
    """The place for the kit: a passing one where none was asked for."""
    if output is not None:
        yield output
        return
    with passing_folder() as folder:
        yield folder / "kit"


def print_coverage(kit: Path) -> bool:
    """Print which case shows which fault. Returns whether each is shown."""
    from ...golden.kit.coverage import coverage, table
    from ...golden.kit.kit import load_cases

    with telling("trying faults") as progress:
        found = coverage(load_cases(kit), progress)
    print(table(found))
    return all(one.right for one in found)
