"""How sentences are put together: lists of names that stay short."""

import difflib
from collections.abc import Iterable


def listed(names: Iterable[str], most: int = 1) -> str:
    """The first few names, and how many more there are: `q, k and 5 more`."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def meant(name: str, names: Iterable[str]) -> str:
    """What may have been meant by a name that is not among these: the end of a sentence."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=2)
    return f": did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(names)}"
