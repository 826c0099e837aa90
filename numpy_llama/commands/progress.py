"""A progress bar on stderr, shown where stderr is a terminal, from the first progress on."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import click

from .terminal import beneath


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yields a function `progress(done, total)`; the total may be told anew each time."""
    bars: list[Any] = []
    with ExitStack() as stack:

        def progress(done: int, total: int) -> None:
            if not sys.stderr.isatty():
                return
            if not bars:
                bar = click.progressbar(length=max(total, 1), label=label, file=beneath(sys.stderr))
                bars.append(stack.enter_context(bar))
            bars[0].update(done - bars[0].pos)

        yield progress
