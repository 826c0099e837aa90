"""llama-np golden run: any implementation, held against a kit."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...choices import CANDIDATE_DTYPES, MODEL_FORMATS
from ...errors import InputError
from ..options import threads_option
from ..options.help import Command
from ..terminal.errors import exit_2_on_errors
from ..terminal.streams import try_output
from .shared import NAMES, allow_option, passing_folder, telling

if TYPE_CHECKING:
    from ...golden.kit.kit import Entry
    from ...golden.kit.run import Plan, Result


@click.command(cls=Command)
@click.option(
    "--kit",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="What `golden kit -o DIR` made.",
)
@click.option(
    "--command",
    required=True,
    metavar="'CMD {model} {tokens} {out}'",
    help="What to run for each case. No shell sees it.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["any", *MODEL_FORMATS]),
    default="any",
    show_default=True,
    help="Which form of each model is {model}; any: the first of hf, gguf, llama2c.",
)
@click.option("--dtype", type=click.Choice(CANDIDATE_DTYPES), help="What the command computes in.")
@click.option(
    "--names",
    metavar=NAMES,
    help="What its output calls the taps, as in `golden check`.",
)
@allow_option
@click.option("--only", multiple=True, metavar="PATTERN", help="Cases to run. Default: all.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="When a command is ended.",
)
@click.option("--no-diagnosis", is_flag=True, help="Judge only; do not look for mistakes.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep the outputs there; it must not exist.",
)
@click.option(
    "--junit",
    "junit_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the results as JUnit's XML, which CI servers show.",
)
@click.option("--json", "as_json", is_flag=True, help="The results as JSON, on stdout.")
@threads_option
def run(
    kit: Path,
    command: str,
    format_: str,
    only: tuple[str, ...],
    no_diagnosis: bool,
    keep: Path | None,
    junit_file: Path | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Run an implementation on the cases of a kit, judge each, and name its mistakes.

    \b
    {model}        the model: a directory, or a file (see --format)
    {tokens}       the ids to run, with commas; {tokens_file}: a file of them, one a line
    {steps}        in which steps the golden ran them, with commas: 12,1,1 is a prompt of 12
                   tokens and two decode steps
    {pads}         how many of the ids are pads before the prompt; a command without it is not
                   asked for the case that has them
    {out}          where to write the logits (or all taps) after every token: a path, to which a
                   suffix may be put ({out}.npy), or a directory to make; see `golden check`
    {name}         the name of the case

    Exits with the gravest of: 1 if any diverged, 2 if any could not be judged or the options are
    wrong, 4 if any makes a choice that is not declared with --allow, 3 if any is incomplete, 0.
    """
    with exit_2_on_errors(), passing_folder() as passing:
        from ...golden.kit.kit import read_kit
        from ...golden.kit.run import make_plan, select_cases
        from ...golden.kit.score import exit_code

        check_absent(keep)
        try_output(junit_file)
        cases = select_cases(read_kit(kit), only)
        how |= {"format": format_, "name_mistakes": not no_diagnosis}
        plan = make_plan(command, keep or passing, **how)
        results = run_cases(plan, cases, quiet=as_json)
        report(results, junit_file, as_json)
    sys.exit(exit_code(results))


def check_absent(keep: Path | None) -> None:
    """Raise InputError where the outputs would be mixed with what is there."""
    if keep is not None and keep.exists():
        raise InputError(f"{keep}: is there already; give --keep another name")


def run_cases(plan: "Plan", cases: "Sequence[Entry]", quiet: bool) -> "list[Result]":
    """Run every case; unless `quiet`, print a line on each as it ends."""
    from ...golden.kit.run import run_kit
    from ...golden.kit.score import case_line

    results = []
    width = max(len(case.name) for case in cases)
    with telling("running") as progress:
        for result in run_kit(plan, cases):
            results.append(result)
            if not quiet:
                click.echo(case_line(result, width))
            progress(len(results), len(cases), result.name)
    return results


def report(results: "list[Result]", junit_file: Path | None, as_json: bool) -> None:
    """Print the score, or all results as JSON; write the JUnit file if one is named."""
    from ...formats.storage.files import writing
    from ...golden.kit.junit import junit
    from ...golden.kit.score import about_mistakes, score_json, score_line

    if junit_file is not None:
        with writing(junit_file) as file:
            file.write(junit(results))
    if as_json:
        print(json.dumps(score_json(results), indent=1))
    else:
        print("\n".join(["", score_line(results), *about_mistakes(results)]))
