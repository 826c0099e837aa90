"""llama-np golden: record what a correct model gives, and judge what another one gave."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices import CANDIDATE_DTYPES, EXPORTS
from ..loading.threads import share
from .errors import exit_2_on_errors
from .help import Command
from .options import allow_option, threads_option
from .progress import progress_bar
from .streams import try_output

if TYPE_CHECKING:
    from ..golden import Bundle, Report

golden_argument = click.argument("golden", metavar="GOLDEN", type=click.Path(path_type=Path))
taps_option = click.option(
    "--taps",
    multiple=True,
    metavar="all|logits|PATTERN",
    help="Which intermediates: all (the default), logits, or patterns like 'layers.0.*'. "
    "May be given several times.",
)


@contextmanager
def telling(label: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar for work that also says what it is at."""
    with progress_bar(label) as progress:
        yield lambda done, total, what: progress(done, total)


@click.group()
def golden() -> None:
    """Golden outputs: record, check, and name the bug.

    \b
    llama-np golden record -m MODEL -p "Once upon a time" -o once
    llama-np golden check once DUMP        exit 0 passed, 1 diverged, 3 incomplete, 4 a choice
    """


@golden.command(cls=Command)
@golden_argument
@click.option("--json", "as_json", is_flag=True, help="golden.json itself.")
def show(golden: Path, as_json: bool) -> None:
    """What GOLDEN is of, how it was measured, and which faults it cannot see."""
    from ..golden import load
    from ..golden.record.disk import JSON
    from ..golden.record.show import describe

    bundle = load(golden)
    print((golden / JSON).read_text(encoding="utf-8").rstrip() if as_json else describe(bundle))


@golden.command(cls=Command)
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
    from ..golden import load
    from ..golden.export.export import export as export_golden

    if word != "float32" and to != "hex":
        raise click.UsageError("--word is of --to hex: the other formats hold float32")
    detail = export_golden(load(golden), output, to, list(taps), word, force)
    click.echo(f"wrote {output}: {detail}", err=True)


@golden.command(cls=Command)
@golden_argument
@click.argument("candidate", metavar="CANDIDATE", type=click.Path(path_type=Path))
@click.option(
    "--dtype",
    type=click.Choice(CANDIDATE_DTYPES),
    help="What CANDIDATE computed in. Default: as its files are stored, at most float32.",
)
@click.option(
    "--names",
    metavar="FILE|llama.cpp|transformers|transformerlens",
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
        from ..golden import as_text, load
        from ..golden import check as check_golden
        from ..golden.report.json import as_json as report_json

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
    from ..formats.storage.files import writing
    from ..golden.report.html import as_html

    with writing(path) as file:
        file.write(as_html(report, bundle, candidate.name).encode())


@golden.command(cls=Command)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="Where to write it. Default: stdout.",
)
def header(output: Path | None) -> None:
    """llama_tap.h, with which a program in C or C++ writes its intermediates."""
    from ..golden.export.c_header import header as text
    from ..golden.export.c_header import write_header

    if output is None:
        print(text(), end="")
    else:
        click.echo(f"wrote {write_header(output)}", err=True)
