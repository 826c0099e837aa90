"""How sentences are put together: lists of names that stay short, and what a slip may mean."""

import difflib
from collections.abc import Iterable


def listed(names: Iterable[str], most: int = 1) -> str:
    """The first few names, and how many more there are: `q, k and 5 more`."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """What to put behind a name that is none: ` (did you mean q?)`, or nothing."""
    spelt = {each.lower(): each for each in names}
    close = difflib.get_close_matches(name.lower(), spelt, n=2)
    return f" (did you mean {' or '.join(spelt[each] for each in close)}?)" if close else ""
