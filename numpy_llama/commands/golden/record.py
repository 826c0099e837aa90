"""llama-np golden record: what a correct model gives, for one prompt, or for each of a file."""

import sys
from pathlib import Path
from typing import IO, Any

import click

from ..options import model_option, parse_ids, threads_option
from ..options.executors import dask_executor, dask_option
from ..options.help import Command
from ..terminal.progress import progress_bar
from ..terminal.streams import read_prompt
from .shared import taps_option, telling


def check_usage(
    prompt: str | None, tokens: list[int] | None, batch: bool, workers: dict[str, Any]
) -> None:
    """Refuse options that do not go together."""
    if batch and (prompt is not None or tokens is not None):
        raise click.UsageError("the prompts of --batch are in its file: no -p, no --tokens")
    if not batch and workers != {"jobs": 1, "dask": None}:
        raise click.UsageError("--jobs and --dask are for --batch")
    if tokens is not None and prompt is not None:
        raise click.UsageError("give -p PROMPT or --tokens, not both")


@click.command(cls=Command)
@model_option
@click.option("-p", "--prompt", metavar="TEXT", help="The prompt; - or piped in as elsewhere.")
@click.option(
    "--tokens", callback=parse_ids, metavar="1,2,3", help="Token ids, instead of a prompt."
)
@click.option(
    "--decode",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    metavar="N",
    help="Greedy steps of one token after the prompt, teacher-forced when they are checked.",
)
@click.option(
    "--chunk",
    type=click.IntRange(min=1),
    metavar="N",
    help="Feed the prompt in pieces of N tokens. Default: at once.",
)
@taps_option
@click.option(
    "--no-detect", is_flag=True, help="Do not measure which faults this golden can see: quicker."
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where golden.json and golden.safetensors go.",
)
@click.option(
    "--batch",
    type=click.File("rb"),
    metavar="PROMPTS.jsonl",
    help='A golden for each line, {"prompt": …} or {"tokens": …}, into DIR/ID: its id, or its '
    "number.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Processes that record a --batch.",
)
@dask_option
@threads_option
def record(
    model: str | None,
    prompt: str | None,
    tokens: list[int] | None,
    decode: int,
    chunk: int | None,
    taps: tuple[str, ...],
    no_detect: bool,
    output: Path,
    batch: IO[bytes] | None,
    **workers: Any,
) -> None:
    """Record what MODEL gives, in float64, and how far noise may lead from it."""
    how: dict[str, Any] = {
        "decode": decode,
        "chunk": chunk,
        "taps": taps or ("all",),
        "detect": not no_detect,
    }
    check_usage(prompt, tokens, batch is not None, workers)
    if batch is not None:
        return record_batch(batch, model, output, how, **workers)
    text = read_prompt(prompt, None) if tokens is None else None

    from ...golden import record as record_golden
    from ...loading.open import open_reference
    from ...store.find import find_model
    from ...text import TextModel

    path = find_model(model)
    m = TextModel(open_reference(path, say=say), path)
    ids = m.ids_of(tokens or () if text is None else text)
    how |= {"text": text, "source": model or m.path.name}
    with telling("trying faults") as progress:
        bundle = record_golden(m.llama, ids, progress=progress, **how)
    bundle.save(output)
    rows = f"{len(bundle.schedule.tokens)} rows, {len(ids)} of them the prompt"
    click.echo(f"wrote {output}: {len(bundle.values)} taps of {rows}", err=True)


def say(line: str) -> None:
    """Tell the user what they did not ask for."""
    click.echo(line, err=True)


def record_batch(
    lines: IO[bytes],
    model: str | None,
    output: Path,
    how: dict[str, Any],
    jobs: int,
    dask: str | None,
) -> None:
    """A golden for each line, and a line on stderr for each that could not be recorded."""
    from ...batch.goldens import Recording, parse_prompts, record_all
    from ...formats import open_checkpoint
    from ...loading.open import too_large
    from ...store.find import find_model

    prompts = parse_prompts(lines)
    path = find_model(model).resolve()
    stream = too_large(open_checkpoint(path).config, "float32", say)
    output.mkdir(parents=True, exist_ok=True)
    setup = Recording(str(path), model or path.name, str(output.resolve()), stream=stream, **how)
    wrong = 0
    with dask_executor(dask) as executor, progress_bar("recording") as progress:
        for done, answer in enumerate(record_all(setup, prompts, executor, jobs)):
            progress(done + 1, len(prompts))
            if "error" in answer:
                wrong += 1
                click.echo(f"{answer['id']}: {answer['error']}", err=True)
    click.echo(f"wrote {len(prompts) - wrong} goldens into {output}", err=True)
    if wrong:
        sys.exit(1)
