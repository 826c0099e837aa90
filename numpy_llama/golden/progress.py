"""Progress: how long work says how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]  # how many are done, of how many, and what the next is


def no_progress(done: int, total: int, what: str) -> None:
    """The default: say nothing."""
