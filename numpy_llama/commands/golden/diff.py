"""llama-np golden diff: two programs' dumps against each other, without a golden."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...choices import CANDIDATE_DTYPES
from ...errors import InputError
from ..options import parse_ids, several, threads_option
from ..options.help import Command
from ..terminal.errors import exit_2_on_errors
from .shared import NAMES

if TYPE_CHECKING:
    from ...golden import Candidate
    from ...golden.diff.truth import Floors

of_each = several(
    click.option("--names-a", metavar=NAMES, help="What A calls the taps, as in `golden check`."),
    click.option("--names-b", metavar=NAMES, help="What B calls them."),
    click.option(
        "--dtype-a",
        type=click.Choice(CANDIDATE_DTYPES),
        help="What A computed in. Default: as its files are stored, at most float32.",
    ),
    click.option("--dtype-b", type=click.Choice(CANDIDATE_DTYPES), help="What B computed in."),
)


@click.command(cls=Command)
@click.argument("a", metavar="A", type=click.Path(path_type=Path))
@click.argument("b", metavar="B", type=click.Path(path_type=Path))
@of_each
@click.option(
    "-m",
    "--model",
    metavar="MODEL",
    help="The model that both are of: its own noise is the limit, and each is held to its truth.",
)
@click.option(
    "--tokens",
    callback=parse_ids,
    metavar="1,2,3",
    help="On which both were run. Default: what A or B says, if it does.",
)
@click.option("--json", "as_json", is_flag=True, help="The comparison as JSON, on stdout.")
@threads_option
def diff(
    a: Path,
    b: Path,
    names_a: str | None,
    names_b: str | None,
    dtype_a: str | None,
    dtype_b: str | None,
    model: str | None,
    tokens: list[int] | None,
    as_json: bool,
) -> None:
    """Compare A and B, what two programs left of the same tokens; no golden is needed.

    A and B are files or directories, as `golden check` reads them. The first tap, in causal order,
    that differs by more than rounding may do is where to look.

    Exits 0 if they are alike, 1 if they differ, 2 if they could not be compared.
    """
    with exit_2_on_errors():
        from ...golden.candidate.read import read_candidate
        from ...golden.diff.diff import diff as diff_dumps
        from ...golden.diff.text import as_json as diff_json
        from ...golden.diff.text import as_text

        one = read_candidate(a, None, dtype_a, names_a)
        other = read_candidate(b, None, dtype_b, names_b)
        floors = None if model is None else floors_for(model, tokens, one, other)
        result = diff_dumps(one, other, short_names(a, b), floors)
        print(json.dumps(diff_json(result), indent=1) if as_json else as_text(result))
    sys.exit(result.exit_code)


def short_names(a: Path, b: Path) -> tuple[str, str]:
    """The names of two dumps, as short as they can be told apart."""
    return (a.name, b.name) if a.name != b.name else (str(a), str(b))


def floors_for(model: str, tokens: list[int] | None, a: "Candidate", b: "Candidate") -> "Floors":
    """The truth of a model on the tokens of two dumps, and its floors at what they computed in."""
    from ...golden.diff.diff import needed
    from ...golden.diff.truth import floors_of
    from ...loading.open import open_reference
    from ...store.find import find_model

    ids: Any = tokens or a.tokens or b.tokens
    if not ids:
        raise InputError("neither of the two says on which tokens it was run: give --tokens")
    return floors_of(open_reference(find_model(model)), ids, *needed(a, b))
