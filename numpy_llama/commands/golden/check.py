"""llama-np golden check: whether another program is right, and if not, which mistake it has."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...choices import CANDIDATE_DTYPES
from ...loading.threads import share
from ..options import threads_option
from ..options.help import Command
from ..terminal.errors import exit_2_on_errors
from ..terminal.streams import try_output
from .shared import NAMES, allow_option, golden_argument, telling

if TYPE_CHECKING:
    from ...golden import Bundle, Report


@click.command(cls=Command)
@golden_argument
@click.argument("candidate", metavar="CANDIDATE", type=click.Path(path_type=Path))
@click.option(
    "--dtype",
    type=click.Choice(CANDIDATE_DTYPES),
    help="What CANDIDATE computed in. Default: as its files are stored, at most float32.",
)
@click.option(
    "--names",
    metavar=NAMES,
    help="What CANDIDATE calls the taps; FILE is JSON, from its names to ours.",
)
@click.option(
    "--require",
    multiple=True,
    default=["logits"],
    metavar="PATTERN|greedy",
    help="What must be there to pass. Default: logits. May be given several times.",
)
@click.option(
    "-m",
    "--model",
    metavar="MODEL",
    help="The golden's model, to name the mistake. Default: where it was recorded from.",
)
@click.option("--no-diagnosis", is_flag=True, help="Judge only; do not look for the mistake.")
@click.option("--deep", is_flag=True, help="Also try every pair of faults: slow.")
@allow_option
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Mistakes that are tried at once. Default: one for each core, if --threads is not given.",
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON, on stdout.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the report as one page.",
)
@threads_option
def check(
    golden: Path,
    candidate: Path,
    require: tuple[str, ...],
    no_diagnosis: bool,
    as_json: bool,
    html: Path | None,
    **how: Any,
) -> None:
    """Judge CANDIDATE, and if it is wrong say where, and which known mistake it is.

    CANDIDATE is a directory of .npy or .f32 files, an .npz, .safetensors or .json file, or logits
    alone: .npy, .bin (raw float32) or .txt.

    Exits 0 if it passed, 1 if it diverged, 3 if what is required was not given, 4 if it is right
    and makes a choice that is not declared with --allow, and 2 if it could not be judged: a file
    is missing or broken, or the options are wrong.
    """
    with exit_2_on_errors():
        try_output(html)
        how["jobs"] = share(how["jobs"])  # before NumPy is imported
        from ...golden import as_text, load
        from ...golden import check as check_golden
        from ...golden.report.json import as_json as report_json

        bundle = load(golden)
        with telling("trying faults") as progress:
            report = check_golden(
                bundle,
                candidate,
                required=require,
                name_mistakes=not no_diagnosis,
                progress=progress,
                **how,  # dtype, names, model, deep, allow, jobs
            )
        if html is not None:
            write_html(html, report, bundle, candidate)
        print(json.dumps(report_json(report), indent=1) if as_json else as_text(report))
    sys.exit(report.exit_code)


def write_html(path: Path, report: "Report", bundle: "Bundle", candidate: Path) -> None:
    """The report as one page."""
    from ...formats.storage.files import writing
    from ...golden.report.html import as_html

    with writing(path) as file:
        file.write(as_html(report, bundle, candidate.name).encode())
