"""How a golden names its model: so that both can be moved together, and it is still found."""

import os
from pathlib import Path

BESIDE = ("./", "../")  # how a path begins that is relative to the golden's directory


def path_of(source: str, place: Path | None) -> str:
    """Where a golden's model is, as a path or a name.

    place: the golden's directory. What is not there is looked for from the caller's: older goldens
    name it so, and a name in `weights/` is no path at all.
    """
    if place is not None and source.startswith(BESIDE) and (place / source).exists():
        return str(place / source)
    return source


def seen_from(directory: Path, source: str) -> str:
    """How a golden in `directory` names its model: relative to itself, where it is a path.

    A name in `weights/` stays a name, and an absolute path stays as it is where the two have no
    folder in common but the root: they will not be moved together.
    """
    if not source or not Path(source).exists():
        return source
    path = Path(os.path.abspath(source))
    model = path.parent.resolve() / path.name  # it may be a link itself: to another place later
    golden = directory.resolve()
    try:
        common = os.path.commonpath([model, golden])
    except ValueError:  # on two drives of Windows
        return source
    if common == Path(common).anchor:
        return source
    relative = Path(os.path.relpath(model, golden)).as_posix()
    return relative if relative.startswith(BESIDE) else f"./{relative}"
