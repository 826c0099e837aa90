"""How sentences are put together: lists of names that stay short."""

from collections.abc import Iterable


def listed(names: Iterable[str], most: int = 1) -> str:
    """The first few names, and how many more there are: `q, k and 5 more`."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
