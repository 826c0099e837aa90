"""The C header that writes taps, as it is shipped with the package."""

from importlib.resources import files
from pathlib import Path

from ...formats.storage.files import writing

NAME = "llama_tap.h"


def header() -> str:
    """The text of llama_tap.h."""
    return files(__package__).joinpath(NAME).read_text(encoding="utf-8")


def write_header(target: str | Path) -> Path:
    """Write it to a file, or under its own name into a directory; returns the file's path."""
    path = Path(target)
    path = path / NAME if path.is_dir() else path
    with writing(path) as file:
        file.write(header().encode())
    return path
