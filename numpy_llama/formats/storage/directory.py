"""Directories that are filled under another name beside their place, and renamed when whole.

So whoever sees the name sees all of it. `new_directory` begins anew each time. GrowingDirectory
writes down in a journal what is finished; after an interruption the next run of the same command
takes it up instead of beginning again.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import CheckpointError, InputError
from .files import sha256_of, sync_directory, write_json

JOURNAL = "journal.json"
HEADROOM = 1 << 24  # bytes of disk that must stay free: for small files, and the file system itself


@contextmanager
def new_directory(target: Path, index: str = "", force: bool = False) -> Iterator[Path]:
    """A directory to fill, which becomes `target` when the block ends well, and else is gone.

    force: replace an earlier one, which is told by the file `index` in it. Raises InputError for
    a target that is there already and is not to be replaced.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InputError(f"{target}: is no directory, and one is to be made; give another name")
    if target.exists() and any(target.iterdir()):
        if not force:
            rest = ", or --force" if index else ""
            raise InputError(f"{target}: is there already; give another name{rest}")
        if not (target / index).is_file():  # a wrong name must not remove a user's directory
            raise InputError(f"{target}: holds no {index}, so --force does not replace it")
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        yield made
        made.chmod(0o755)  # mkdtemp makes it private
        if target.exists():
            shutil.rmtree(target)
        os.replace(made, target)
        sync_directory(target.parent)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def check_place(target: Path, source: Path, force: bool, essential: set[str]) -> None:
    """Raise CheckpointError if `target` must not be written, or what is there not be replaced.

    `force` replaces a directory, but only one that holds one of the `essential` files, so that a
    wrong name after --force does not remove a directory of something else.
    """
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
        self.target = target = Path(os.path.abspath(target))  # "." has no name to work with
        self.path = target.with_name(f".{target.name}.partial")
        self.replaced = target.with_name(f".{target.name}.replaced")
        self.recipe = recipe
        self.finished = self.earlier_files() or {}
        if not self.finished:
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(parents=True)
            self.save()
        for file in self.path.iterdir():  # what was being written when the earlier run ended
            if file.name not in self.finished and file.name != JOURNAL:
                file.unlink()

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
        """Give the directory its name. What had the name is removed once the new one has it.

        The journal goes last: killed before that, the next run finds all done and does it again.
        """
        shutil.rmtree(self.replaced, ignore_errors=True)
        if self.target.exists():
            os.rename(self.target, self.replaced)
        os.rename(self.path, self.target)
        sync_directory(self.target.parent)
        (self.target / JOURNAL).unlink()
        shutil.rmtree(self.replaced, ignore_errors=True)
