"""What several commands of llama-np golden share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ...loading.memory import keep_freed_memory
from ..terminal.progress import progress_bar

NAMES = "FILE|llama.cpp|transformers|transformerlens"
golden_argument = click.argument("golden", metavar="GOLDEN", type=click.Path(path_type=Path))
taps_option = click.option(
    "--taps",
    multiple=True,
    metavar="all|logits|PATTERN",
    help="Which intermediates: all (the default), logits, or patterns like 'layers.0.*'. "
    "May be given several times.",
)
allow_option = click.option(
    "--allow",
    multiple=True,
    metavar="CHOICE",
    help="A choice that is meant, such as kv-float16: then it passes. May be given several times.",
)


@contextmanager
def telling(label: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar for long work, which keeps freed memory, and also says what it is at."""
    keep_freed_memory()
    with progress_bar(label) as progress:
        yield lambda done, total, what: progress(done, total)


@contextmanager
def passing_folder() -> Iterator[Path]:
    """A directory that is there as long as the block."""
    from tempfile import TemporaryDirectory  # slow to import, and --help needs none

    with TemporaryDirectory() as folder:
        yield Path(folder)
