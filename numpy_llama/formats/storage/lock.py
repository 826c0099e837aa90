"""One writer of a target at a time; what a dead one left is removed by the next.

While NAME is written, the file .NAME.lock beside it is locked. The system ends that lock with its
process, however that ends: so whoever holds it knows that what lies under the name of an
unfinished NAME is of no living writer.
"""

import errno
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import InputError

if sys.platform == "win32":  # so written, mypy knows it
    import msvcrt
else:
    import fcntl

PATIENCE = 10.0  # seconds until a writer gives up on another
PAUSE = 0.02
# Of file systems without locks: some network shares.
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


def lock_path(target: Path) -> Path:
    """The file that is locked while `target` is written."""
    return target.with_name(f".{target.name}.lock")


def partial_path(target: Path) -> Path:
    """What a target is called while it is written."""
    return target.with_name(f".{target.name}.partial")


def open_lock(path: Path) -> tuple[int, bool]:
    """The open file, and whether this call made it."""
    flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    with suppress(FileExistsError):
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666), True
    return os.open(path, flags | os.O_CREAT, 0o666), False


def try_lock(handle: int) -> bool:
    """Lock an open file; whether no other holds it. Threads exclude each other as processes do."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as wrong:
        if wrong.errno in UNSUPPORTED:
            raise
        return False
    return True


def is_at(handle: int, path: Path) -> bool:
    """Whether an open file still has its name: the writer before may have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def acquire(path: Path) -> int | None:
    """The locked file, open; None where another writer holds it."""
    try:
        handle, made = open_lock(path)
    except PermissionError:
        if sys.platform == "win32" and path.exists():
            return None  # it is being removed
        raise
    try:
        if try_lock(handle) and is_at(handle, path):
            return handle
    except OSError:
        if made:  # no locks here: whoever made the file is the one
            return handle
        os.close(handle)
        raise InputError(
            f"{path}: is there, and this file system has no locks: another writer is at work, or "
            "was ended; if none is, remove this file"
        ) from None
    os.close(handle)
    return None


def release(handle: int, path: Path) -> None:
    """Remove the file while it is locked, so that nobody locks one that is on its way out."""
    if sys.platform == "win32":  # an open file cannot be removed there
        os.close(handle)
        with suppress(OSError):
            path.unlink()
    else:
        path.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def locked(target: Path, patience: float | None = None) -> Iterator[None]:
    """Be the only writer of `target` in the block; waits `patience` seconds for another.

    Raises InputError when that is not enough.
    """
    target = Path(os.path.abspath(target))  # "." has no name to work with
    path = lock_path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + (PATIENCE if patience is None else patience)
    while (handle := acquire(path)) is None:
        if time.monotonic() > end:
            raise InputError(
                f"{target}: is being written by another program; wait until it has ended, or give "
                "another name"
            )
        time.sleep(PAUSE)
    try:
        yield
    finally:
        release(handle, path)


def remove(path: Path) -> None:
    """Remove whatever is there: a file, a link or a directory with all in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
