"""One writer of a target at a time: the second waits, or says so; what a dead one left is swept."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from numpy_llama.errors import InputError
from numpy_llama.formats.storage import lock
from numpy_llama.formats.storage.directory import new_directory
from numpy_llama.formats.storage.files import writing
from numpy_llama.formats.storage.lock import lock_path, locked, partial_path

HOLDER = """
import sys, time
from pathlib import Path
from numpy_llama.formats.storage.directory import new_directory
from numpy_llama.formats.storage.files import writing
target = Path(sys.argv[2])
if sys.argv[1] == "file":
    with writing(target) as file:
        file.write(b"half"); file.flush(); print("there", flush=True); sys.stdin.read()
else:
    with new_directory(target, "index", force=True) as made:
        (made / "index").write_text("half"); print("there", flush=True); sys.stdin.read()
"""


def holder(kind: str, target: Path) -> subprocess.Popen[str]:
    """Another process that has begun to write, and ends well when its stdin does."""
    command = [sys.executable, "-c", HOLDER, kind, str(target)]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert child.stdout and child.stdout.readline() == "there\n"
    return child


def write(kind: str, target: Path) -> None:
    if kind == "file":
        with writing(target) as file:
            file.write(b"whole")
    else:
        with new_directory(target, "index", force=True) as made:
            (made / "index").write_text("whole")


def content(target: Path) -> str:
    return (target / "index" if target.is_dir() else target).read_text()


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_the_second_writer_says_that_another_is_at_work_and_sweeps_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    first = holder(kind, target)
    try:
        monkeypatch.setattr(lock, "PATIENCE", 0.1)
        with pytest.raises(InputError, match="target: is being written by another program; wait"):
            write(kind, target)
        assert content(partial_path(target)) == "half"
    finally:
        first.communicate("", timeout=60)
    assert first.returncode == 0 and content(target) == "half"
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_the_second_writer_waits_for_the_first(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    first = holder(kind, target)
    second = threading.Thread(target=write, args=(kind, target))
    second.start()
    time.sleep(0.2)
    assert second.is_alive() and not target.exists()
    first.communicate("", timeout=60)
    second.join(60)
    assert content(target) == "whole"
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_a_killed_writer_left_is_swept_by_the_next(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    first = holder(kind, target)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    assert sorted(os.listdir(tmp_path)) == [".target.lock", ".target.partial"]
    write(kind, target)
    assert content(target) == "whole"
    assert os.listdir(tmp_path) == ["target"]


def test_what_is_written_beside_it_is_another_targets(tmp_path: Path) -> None:
    """kit and kit.json begin alike."""
    with writing(tmp_path / "kit.json") as file, locked(tmp_path / "kit"):
        file.write(b"{}")
        write("directory", tmp_path / "kit2")
        write("file", tmp_path / "kit.jso")
    assert sorted(os.listdir(tmp_path)) == ["kit.jso", "kit.json", "kit2"]


def test_threads_exclude_each_other(tmp_path: Path) -> None:
    """100 times in 8 threads, one at a time."""
    inside: list[int] = []
    most = 0

    def work(n: int) -> None:
        nonlocal most
        for _ in range(13):
            with locked(tmp_path / "target", patience=60):
                inside.append(n)
                most = max(most, len(inside))
                time.sleep(0)
                inside.remove(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and not os.listdir(tmp_path)


def test_an_early_link_in_the_place_of_the_unfinished_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("dear")
    partial_path(tmp_path / "target").symlink_to("other")
    write("file", tmp_path / "target")
    assert (tmp_path / "other").read_text() == "dear"
    assert sorted(os.listdir(tmp_path)) == ["other", "target"]


@pytest.mark.skipif(os.name == "nt", reason="flock")
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes the lock's file is the one; what a dead one left must be removed by hand."""

    def flock(handle: int, how: int) -> None:
        raise OSError(lock.errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    write("file", tmp_path / "target")
    assert content(tmp_path / "target") == "whole" and os.listdir(tmp_path) == ["target"]
    lock_path(tmp_path / "target").touch()
    with pytest.raises(InputError, match=r"\.target\.lock: is there.*remove this file"):
        write("file", tmp_path / "target")


@pytest.mark.skipif(os.name == "nt", reason="umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o22, 0o644), (0o77, 0o600)])
def test_files_are_as_private_as_the_umask_says(mask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write("file", tmp_path / "target")
    finally:
        os.umask(before)
    assert (tmp_path / "target").stat().st_mode & 0o777 == mode
