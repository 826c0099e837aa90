"""Files: a stranger's are checked and mapped, ours are written whole or not at all."""

import hashlib
import json
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from ...errors import CheckpointError, InputError, LlamaError
from .lock import locked, partial_path, remove

# What turns up under the name of a checkpoint, by its first bytes in lower case.
FOREIGN = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself: run `git lfs pull`",
    b"<!doctype": "an HTML page, probably an error of the site that it was downloaded from",
    b"<html": "an HTML page, probably an error of the site that it was downloaded from",
    b"<?xml": "an XML page, probably an error of the site that it was downloaded from",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it first",
    b"\xfd7zxz\x00": "compressed with xz: unpack it first",
    b"bzh": "compressed with bzip2: unpack it first",
    b"pk\x03\x04": "a zip archive",
    b"gguf": "a GGUF file",
}


def foreign_content(head: bytes) -> str | None:
    """What the first bytes say that a file is, when that is something else than a checkpoint.

    Ask after a file was found broken, not before: a valid header may begin with the same bytes.
    """
    head = head[:64].lstrip().lower()
    return next((what for magic, what in FOREIGN.items() if head.startswith(magic)), None)


def open_regular(path: Path, error: type[LlamaError] = CheckpointError) -> BufferedReader:
    """Open a regular file to read. FIFOs and devices would wait, or never end: they are refused."""
    try:
        mode = os.stat(path).st_mode  # before opening: to open a FIFO is to wait for its writer
        if stat.S_ISDIR(mode):
            raise error(f"{path}: is a directory, not a file")
        if not stat.S_ISREG(mode):
            raise error(f"{path}: is not a regular file")
        return open(path, "rb")
    except FileNotFoundError:
        raise error(f"{path}: does not exist") from None
    except OSError as wrong:
        raise error(f"{path}: cannot be read: {wrong.strerror}") from None
    except ValueError:
        raise error(f"{str(path)!r}: is not a path") from None  # it has a NUL


def read_small(path: Path, most: int, error: type[LlamaError] = CheckpointError) -> bytes:
    """The bytes of a file of at most `most` bytes."""
    with open_regular(path, error) as file:
        size = os.fstat(file.fileno()).st_size  # `read` allocates all that it is asked for
        raw = file.read(min(size, most) + 1)
    if len(raw) > most:
        raise error(f"{path}: is larger than {most:,} bytes, which is no real file's size")
    return raw


def map_file(path: Path) -> mmap.mmap:
    """Map a whole file, read-only. The map outlives the open file; arrays made from it keep it.

    Whoever truncates the file in place afterwards ends this process with SIGBUS: `check_whole`
    narrows that window, nothing closes it. Replacing the file by rename is safe.
    """
    with open_regular(path) as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise CheckpointError(f"{path}: is empty") from None
        except OSError as wrong:
            raise CheckpointError(f"{path}: cannot be mapped: {wrong.strerror}") from None


def check_whole(path: Path, mapped: mmap.mmap) -> None:
    """Raise CheckpointError if the file under the map is no longer as long as the map."""
    if mapped.size() < len(mapped):
        raise CheckpointError(
            f"{path}: shrank from {len(mapped)} to {mapped.size()} bytes while it was in use"
        )


def sync_directory(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can (POSIX)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` when the block ends well, and else is gone.

    It is another file until then: whoever reads or maps the old one keeps it. An OSError names
    `path` where the system names nothing: of a full disk, it does not say which.
    """
    with locked(path), naming(path):
        path = Path(os.path.abspath(path))
        remove(partial := partial_path(path))  # of a writer that was ended
        try:
            with open(partial, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            sync_directory(path.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError that leaves the block names a file, this one if it names none."""
    try:
        yield
    except OSError as wrong:
        if wrong.errno and not wrong.filename:
            wrong.filename = str(path)
        raise


@contextmanager
def new_file(target: Path, force: bool) -> Iterator[BinaryIO]:
    """The same for a file."""
    if target.is_dir():
        raise InputError(f"{target}: is a directory, and a file is to be written")
    if target.exists() and not force:
        raise InputError(f"{target}: is there already; give another name, or --force")
    target.parent.mkdir(parents=True, exist_ok=True)
    with writing(target) as file:
        yield file


def write_json(path: Path, value: object, indent: int = 2) -> None:
    """Write a JSON file, whole or not at all. Raises ValueError for NaN and infinity."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    with writing(path) as file:
        file.write(text.encode() + b"\n")


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
