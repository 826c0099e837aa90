"""llama-np batch: many prompts from a file, their answers into another."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices import TASKS
from .options import (
    chat_template_option,
    context_option,
    dtype_option,
    model_option,
    sampling_options,
    stream_option,
    text_options,
    threads_option,
)
from .options.executors import dask_executor, dask_option
from .options.help import Command
from .terminal.progress import progress_bar

if TYPE_CHECKING:
    from ..batch.answers import Answer
    from ..batch.requests import Request
    from ..batch.results import Kept


def read_requests(
    path: Path, task: str, options: Any
) -> tuple[dict[int, "Request"], dict[int, "Answer"]]:
    """The requests of a file by number, and the answers to what is none. Empty lines are none."""
    from ..batch.answers import refused
    from ..batch.requests import Request, parse_line

    requests: dict[int, Request] = {}
    wrong: dict[int, Answer] = {}
    with sys.stdin.buffer if str(path) == "-" else path.open("rb") as file:
        lines = [(place, line) for place, line in enumerate(file, start=1) if line.strip()]
    for number, (place, line) in enumerate(lines):
        parsed = parse_line(line, number, task, options, place)
        if isinstance(parsed, Request):
            requests[number] = parsed
        else:
            wrong[number] = refused(number, parsed)
    return requests, wrong


@click.command(cls=Command)
@click.argument(
    "prompts", type=click.Path(path_type=Path, allow_dash=True), metavar="PROMPTS.jsonl"
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT.jsonl",
    help="Where the answers go, one line each; - is standard output, and nothing is kept.",
)
@model_option
@click.option(
    "--task",
    type=click.Choice(TASKS),
    default="generate",
    show_default=True,
    help="What is wanted of each prompt: a text, the likeliest next tokens, or its probability.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes, which share the cores. Default: one for each core; 1 for a streamed model.",
)
@click.option(
    "--together",
    type=click.IntRange(min=1),
    metavar="N",
    help="Prompts that share each pass over the weights, in one process: quicker, and equal but "
    "for rounding. Default: 16 for a streamed model, else 1.",
)
@dask_option
@click.option("--unordered", is_flag=True, help="Answers as they came, not in the prompts' order.")
@click.option(
    "-n",
    "--max-tokens",
    type=click.IntRange(min=-1),
    default=256,
    show_default=True,
    metavar="N",
    help="Tokens at most, where a line does not say; -1: until the model ends.",
)
@context_option
@sampling_options
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text.")
@click.option("--ignore-eos", is_flag=True, help="Go on where the model would end.")
@chat_template_option
@dtype_option
@stream_option
@threads_option
def batch(
    prompts: Path,
    output: Path,
    model: str | None,
    task: str,
    jobs: int | None,
    together: int | None,
    dask: str | None,
    unordered: bool,
    dtype: str,
    stream: bool | None,
    chat_template: str | None,
    **options: Any,
) -> None:
    """Answer every line of PROMPTS.jsonl (- is standard input).

    A line is an object with prompt, tokens or messages; id, and options of its own under their
    Python names (max_tokens, temperature, stop …) may stand beside them. Answers are kept in
    OUT.jsonl.partial until all are there: the same command goes on where a killed one ended. What
    is wrong with a line stands in its answer, as "error"; then the exit code is 1.
    """
    check_workers(dask, jobs, together)
    from ..batch.dispatch import answers_of, plan

    requests, wrong = read_requests(prompts, task, text_options(**options))
    setup = plan(model, dtype, stream, chat_template, tell)
    keys = {n: request.key(repr(setup)) for n, request in requests.items()}
    keys |= dict.fromkeys(wrong, "")
    with (
        dask_executor(dask) as executor,
        keeping(output, keys, not unordered) as kept,
        progress_bar("answering") as progress,
    ):
        left = [each for each in requests.items() if each[0] not in kept.answers]
        answers = answers_of(setup, left, executor, jobs, together)
        for number, answer in chain(wrong.items(), answers):
            kept.add(number, answer)
            progress(len(kept.answers), len(keys))
        kept.finish(not unordered)
    exit_on_errors(kept)


def exit_on_errors(kept: "Kept") -> None:
    """Say how many of the answers are errors, if any are, and exit 1."""
    if errors := sum("error" in answer for answer in kept.answers.values()):
        click.echo(f"{errors} of the answers are errors", err=True)
        sys.exit(1)


def check_workers(dask: str | None, jobs: int | None, together: int | None) -> None:
    """Refuse options that do not go together."""
    if dask is not None and (jobs is not None or together is not None):
        raise click.UsageError("--dask has workers of its own: leave out --jobs and --together")
    if jobs is not None and together is not None:
        raise click.UsageError("--together is for one process: leave out --jobs")


def tell(line: str) -> None:
    """What the user did not ask for, on stderr."""
    print(line, file=sys.stderr)


@contextmanager
def keeping(output: Path, keys: dict[int, str], ordered: bool) -> Iterator["Kept"]:
    """Where the answers go. Two runs into one file would take each other's for their own."""
    from ..batch.results import Partial, Printed
    from ..formats.storage.lock import locked

    if str(output) == "-":
        yield Printed(ordered)
        return
    with locked(output.with_name(f"{output.name}.batch")):
        partial = Partial(output, keys)
        try:
            yield partial
        finally:
            partial.close()
