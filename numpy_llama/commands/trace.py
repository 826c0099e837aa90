"""llama-np trace: a prompt through the model, every stage on one page that opens offline."""

import sys
from pathlib import Path

import click

from .options import (
    dtype_option,
    load_text,
    model_option,
    parse_ids,
    sampling_options,
    stream_option,
    threads_option,
)
from .options.help import Command
from .terminal.streams import read_prompt


@click.command(cls=Command)
@click.argument("prompt", required=False)
@model_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("trace.html"),
    show_default=True,
    metavar="FILE",
    help="The page.",
)
@click.option(
    "-n",
    "--steps",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    metavar="N",
    help="Tokens that the model chooses, at most.",
)
@click.option(
    "--layers",
    callback=parse_ids,
    metavar="0,5,29",
    help="The layers that are shown. Default: all.",
)
@click.option(
    "--last",
    type=click.IntRange(min=1),
    metavar="N",
    help="Show the last N positions, and the first. Default: all.",
)
@sampling_options
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
@dtype_option
@stream_option
@threads_option
def trace(
    prompt: str | None,
    model: str | None,
    output: Path,
    steps: int,
    layers: list[int] | None,
    last: int | None,
    seed: int | None,
    open_page: bool,
    dtype: str,
    stream: bool | None,
    **sampling: float,
) -> None:
    """Run PROMPT and write what happened, stage by stage, to one page that opens offline.

    The page shows every stage with its numbers, its formula and the lines of source that made
    them; the arrow keys walk through tokens and layers, and the address keeps the place.
    """
    words = read_prompt(prompt, None)
    from ..formats.storage.files import writing
    from ..sampling import Sampling
    from ..show import run_prompt, trace_page

    settings = Sampling(**sampling)  # type: ignore[arg-type]
    text = load_text(model, dtype, "cpu", stream)
    run, shown = run_prompt(text, words, steps, layers, last, settings, seed or 0)
    page = trace_page(run, shown).encode()
    with writing(output) as file:
        file.write(page)
    print(f"{output}: {len(page) / 1e6:.1f} MB", file=sys.stderr)
    if open_page:
        click.launch(str(output))
