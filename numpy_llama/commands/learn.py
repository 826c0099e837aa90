"""llama-np learn: write a Llama stage by stage, and hear from the judge what is wrong."""

import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options.help import Command
from .terminal.errors import exit_2_on_errors
from .terminal.progress import progress_bar

if TYPE_CHECKING:
    from ..learn.judge import Outcome

directories = click.argument(
    "projects", nargs=-1, metavar="[DIR]...", type=click.Path(path_type=Path)
)
timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="When the code of one stage is stopped.",
)


@click.group()
def learn() -> None:
    """Write a Llama yourself, stage by stage; the judge says what is wrong.

    \b
    llama-np learn start my-llama      seven files, to be filled in
    llama-np learn check my-llama      what is right, and where the rest is wrong
    """


@learn.command(cls=Command)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def start(directory: Path) -> None:
    """Make the project DIR: seven files with signatures and docstrings, to be filled in.

    A directory that has something in it is left as it is.
    """
    from ..learn.course.stages import STAGES
    from ..learn.project import start_project

    start_project(directory)
    click.echo(f"made {directory}: read its README.md, and begin with {STAGES[0].file}", err=True)


@learn.command(cls=Command)
@directories
@click.option("--stage", "stages", multiple=True, metavar="S", help="Only this stage, as norm.")
@click.option(
    "--hint",
    type=click.IntRange(1, 3),
    default=1,
    show_default=True,
    help="1: where it is wrong. 2: also which idea was missed. 3: also the mend.",
)
@click.option("--json", "as_json", is_flag=True, help="All that is known, as JSON, on stdout.")
@timeout_option
def check(
    projects: tuple[Path, ...], stages: tuple[str, ...], hint: int, as_json: bool, timeout: float
) -> None:
    """Check the projects DIR (default: here), and say where they are wrong.

    Your files are run on your machine, each in a process with bounded time and memory. Exits 0 if
    all stages are right, 1 if any is not, 2 for wrong options.
    """
    with exit_2_on_errors():
        from ..learn import report

        found = check_all(projects, stages, timeout)
        if as_json:
            print(json.dumps(report.as_json(found), indent=1))
        else:
            texts = [report.as_text(outcomes, hint) for _, outcomes in found]
            if len(found) > 1:
                texts = [f"{name}\n{text}" for (name, _), text in zip(found, texts, strict=True)]
            click.echo("\n\n".join(texts))
    sys.exit(0 if all(o.status == "right" for _, outcomes in found for o in outcomes) else 1)


@learn.command(cls=Command)
@directories
@timeout_option
def progress(projects: tuple[Path, ...], timeout: float) -> None:
    """A line of marks for each project DIR (default: here).

    ✓ right, ✗ wrong, ! error or stopped, · not started.
    """
    with exit_2_on_errors():
        from ..learn.report import progress_line

        width = max((len(str(project)) for project in projects), default=1)
        for name, outcomes in check_all(projects, (), timeout):
            click.echo(progress_line(name, width, outcomes))


@learn.command(cls=Command)
@click.argument("stage", metavar="STAGE")
def solution(stage: str) -> None:
    """Print a right file for a stage."""
    with exit_2_on_errors():
        from ..learn.course.stages import find_stage

        click.echo(find_stage(stage).solution, nl=False)


def check_all(
    projects: Sequence[Path], stages: Sequence[str], timeout: float
) -> "list[tuple[str, list[Outcome]]]":
    """Each project with its outcomes, in the order in which they were named."""
    from concurrent.futures import ThreadPoolExecutor, wait

    from ..learn.check import check_project
    from ..learn.course.stages import find_stage, with_needs

    named = projects or (Path("."),)
    names = [find_stage(name).name for name in stages]
    total = len(named) * (len(set(names)) or len(with_needs([])))
    done: list[Outcome] = []
    stopped = threading.Event()

    def check_one(project: Path) -> "list[Outcome]":
        outcomes = []
        for outcome in check_project(project, names, timeout):
            if stopped.is_set():
                break
            outcomes.append(outcome)
            done.append(outcome)
        return outcomes

    # The work is done in processes of their own: these threads wait for them.
    with progress_bar("checking") as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = [pool.submit(check_one, project) for project in named]
        try:
            for result in waiting:
                while not result.done():
                    wait([result], timeout=0.2)
                    progress(len(done), total)
                result.result()  # a directory that is none ends all
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [(str(one), result.result()) for one, result in zip(named, waiting, strict=True)]
