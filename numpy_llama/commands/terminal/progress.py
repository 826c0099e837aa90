"""Progress on stderr, where stderr is a terminal: a bar that stays, or a line that passes."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import click

from .harmless import beneath

if TYPE_CHECKING:
    from ...model import Llama

Progress = Callable[[int, int], None]
SOON = 1.0  # seconds: what takes no longer needs no line


def is_seen() -> bool:
    """Whether somebody looks at stderr."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def progress_bar(label: str, once: bool = False) -> Iterator[Progress]:
    """Yields a function `progress(done, total)`; the total may be told anew each time.

    once: the bar ends with the work, not with the block, so that another may follow.
    """
    bars: list[Any] = []
    with ExitStack() as stack:

        def progress(done: int, total: int) -> None:
            if not is_seen():
                return
            if not bars:
                file = beneath(sys.stderr)
                bar = click.progressbar(length=max(total, 1), label=label, file=file)
                bars.append(stack.enter_context(bar))
            bars[0].update(done - bars[0].pos)
            if once and done >= total:
                stack.close()
                bars.clear()

        yield progress


class Passing:
    """The same as a line `label: 40%`, shown after a second, and gone at the end of its block."""

    def __init__(self, label: str):
        self.label, self.begun = label, time.monotonic()
        self.shown, self.done, self.ended = "", 0, False

    def __call__(self, done: int, total: int) -> None:
        line = f"{self.label}: {done / total:.0%}"
        self.ended |= done < self.done  # another forward pass has begun: one of a single token
        self.done = done
        late = time.monotonic() - self.begun >= SOON
        if late and line != self.shown and not self.ended and is_seen():
            self.shown = line
            self.write(f"\r{line}")

    def write(self, text: str) -> None:
        stream = beneath(sys.stderr)
        stream.write(text)
        stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.ended = True
        if self.shown:
            self.write("\r" + " " * len(self.shown) + "\r")


class Watched(Sequence[Any]):
    """Layers that say which of them the forward pass has come to."""

    def __init__(self, layers: Sequence[Any], progress: Progress):
        self.layers, self.progress = layers, progress

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, int) and threading.current_thread() is threading.main_thread():
            self.progress(i % len(self), len(self))
        return self.layers[i]


def watched(llama: "Llama", progress: Progress) -> "Llama":
    """The same model, which tells `progress` at each layer; itself where nobody would see it."""
    if not is_seen():
        return llama
    return replace(
        llama, weights=replace(llama.weights, layers=Watched(llama.weights.layers, progress))
    )
