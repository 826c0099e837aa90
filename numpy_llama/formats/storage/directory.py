"""Directories that are filled under another name beside their place, and renamed when whole.

So whoever sees the name sees all of it. `new_directory` begins anew each time. GrowingDirectory
writes down in a journal what is finished; after an interruption the next run of the same command
takes it up instead of beginning again.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import CheckpointError, InputError
from .files import naming, sha256_of, sync_directory, write_json
from .lock import locked, partial_path, remove

JOURNAL = "journal.json"
HEADROOM = 1 << 24  # bytes of disk that must stay free: for small files, and the file system itself


def replaced_path(target: Path) -> Path:
    """What an earlier directory is called while the new one takes its place."""
    return target.with_name(f".{target.name}.replaced")


def put_in_place(made: Path, target: Path) -> None:
    """Give a whole directory its name. An earlier one is removed once the new one has it."""
    replaced = replaced_path(target)
    if target.exists():
        remove(replaced)
        os.rename(target, replaced)
    try:
        os.rename(made, target)
    except OSError:
        restore(target)
        raise
    sync_directory(target.parent)


def restore(target: Path) -> None:
    """Give back its name to a directory whose writer was ended between the two renames."""
    replaced = replaced_path(Path(os.path.abspath(target)))
    if replaced.is_dir() and not target.exists():
        os.rename(replaced, target)
    remove(replaced)


@contextmanager
def new_directory(target: Path, index: str = "", force: bool = False) -> Iterator[Path]:
    """A directory to fill, which becomes `target` when the block ends well, and else is gone.

    force: replace an earlier one, which is told by the file `index` in it. Raises InputError for
    a target that is there already and is not to be replaced.
    """
    with locked(target), naming(target):
        check_free(target, index, force)
        target = Path(os.path.abspath(target))  # "." has no name to work with
        remove(made := partial_path(target))  # of a writer that was ended
        made.mkdir()
        try:
            yield made
            put_in_place(made, target)
            remove(replaced_path(target))
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise


def check_free(target: Path, index: str, force: bool) -> None:
    """Raise InputError where `new_directory` must not make `target`."""
    restore(target)
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InputError(f"{target}: is no directory, and one is to be made; give another name")
    if target.exists() and any(target.iterdir()):
        if not force:
            rest = ", or --force" if index else ""
            raise InputError(f"{target}: is there already; give another name{rest}")
        if not (target / index).is_file():  # a wrong name must not remove a user's directory
            raise InputError(f"{target}: holds no {index}, so --force does not replace it")


def check_place(target: Path, source: Path, force: bool, essential: set[str]) -> None:
    """Raise CheckpointError if `target` must not be written, or what is there not be replaced.

    To be asked by who has locked `target`. `force` replaces a directory, but only one that holds
    one of the `essential` files, so that a
    wrong name after --force does not remove a directory of something else.
    """
    restore(target)
    place, origin = target.resolve(), source.resolve()
    if place == origin or place in origin.parents:
        raise CheckpointError(f"{target}: is the source, or holds it; choose another directory")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise CheckpointError(f"{target}: is not a directory; choose another name")
    if not target.exists() or not any(target.iterdir()):
        return
    if not force:
        raise CheckpointError(f"{target}: exists already; --force replaces it")
    if not any((target / name).is_file() for name in essential):
        raise CheckpointError(
            f"{target}: does not look like a model, so --force does not replace it; "
            "remove it yourself, or choose another name"
        )


class GrowingDirectory:
    """The unfinished directory, and its journal: which files are finished, with their sha256."""

    def __init__(self, target: Path, recipe: Mapping[str, Any]):
        """Take up what an earlier run with the same `recipe` left, or begin with nothing.

        The recipe is all that the bytes of the files depend on, as JSON can hold it.
        """
        self.target = target = Path(os.path.abspath(target))
        self.path = partial_path(target)
        self.recipe = recipe
        self.finished = self.earlier_files() or {}
        if self.finished:
            for file in self.path.iterdir():  # what was being written when the earlier run ended
                if file.name not in self.finished and file.name != JOURNAL:
                    remove(file)
        else:
            remove(self.path)
            self.path.mkdir()

    def earlier_files(self) -> dict[str, str] | None:
        """The finished files of an earlier run with the same recipe."""
        try:
            journal = json.loads((self.path / JOURNAL).read_bytes())
            return journal["finished"] if journal["recipe"] == self.recipe else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def save(self) -> None:
        """Write the journal."""
        write_json(self.path / JOURNAL, {"recipe": self.recipe, "finished": self.finished})

    def add(self, file: str, sha256: str) -> None:
        """Note that a file is finished."""
        self.finished[file] = sha256
        self.save()

    def has(self, file: str) -> bool:
        """Whether a file is finished, and still is what was written."""
        path = self.path / file
        return file in self.finished and path.exists() and sha256_of(path) == self.finished[file]

    def require_space(self, sizes: Mapping[str, int]) -> None:
        """Raise CheckpointError if the disk has no room for those of the files that are left."""
        needed = sum(size for file, size in sizes.items() if file not in self.finished)
        free = shutil.disk_usage(self.path).free
        if free < needed + HEADROOM:
            if not self.finished:
                self.discard()
            raise CheckpointError(
                f"{self.target.parent}: {needed / 1e9:.2f} GB are needed there, "
                f"{free / 1e9:.2f} GB are free"
            )

    def discard(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)

    def put_in_place(self) -> None:
        """Give the directory its name."""
        (self.path / JOURNAL).unlink()
        put_in_place(self.path, self.target)
        remove(replaced_path(self.target))
