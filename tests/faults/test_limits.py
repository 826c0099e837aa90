"""Where the system gives no more: one sentence with the name of the file; nothing is left."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from numpy_llama.formats.storage.directory import new_directory
from numpy_llama.formats.storage.files import writing
from tests.golden.dumps import golden
from tests.tiny import write_tiny_model

resource = pytest.importorskip("resource")

# Limits that a shell cannot set alike everywhere; then the command, as it is run.
LIMITED = """
import resource, sys
name, most = sys.argv.pop(1), int(sys.argv.pop(1))
import numpy_llama.commands, numpy_llama.formats.convert, numpy_llama.golden.kit.kit
import numpy_llama.golden.export.export, numpy_llama.text, sentencepiece
resource.setrlimit(getattr(resource, name), (most, most))
numpy_llama.commands.main()
"""


def llama_np(limit: str, most: int, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIMITED, limit, str(most), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())},
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limits") / "model"
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limits") / "golden"
    golden().save(folder)
    return folder


def check_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit 1, and one line on stderr that begins so and has these words."""
    assert done.returncode == 1, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("Error: ") and "Traceback" not in done.stderr, done.stderr
    assert all(word in line for word in words), line


def test_file_too_large_for_convert(model: Path, tmp_path: Path) -> None:
    done = llama_np("RLIMIT_FSIZE", 4000, "convert", model, "-o", tmp_path / "c")
    check_sentence(done, str(tmp_path / "c"), "File too large")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("to", ["npy", "npz", "f32", "c", "json", "hex"])
def test_file_too_large_for_export(recorded: Path, to: str, tmp_path: Path) -> None:
    out = tmp_path / "x"
    done = llama_np("RLIMIT_FSIZE", 600, "golden", "export", recorded, "--to", to, "-o", out)
    check_sentence(done, str(out), "File too large")
    assert os.listdir(tmp_path) == []


def test_file_too_large_for_record_keeps_the_earlier_golden(model: Path, tmp_path: Path) -> None:
    record = ("golden", "record", "-p", "once", "-m", model, "--no-detect", "-o", tmp_path / "g")
    assert llama_np("RLIMIT_FSIZE", 1 << 30, *record).returncode == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "g").iterdir()}
    done = llama_np("RLIMIT_FSIZE", 4000, *record)
    check_sentence(done, str(tmp_path / "g"), "File too large")
    assert {path.name: path.read_bytes() for path in (tmp_path / "g").iterdir()} == before


def test_no_descriptors(model: Path, tmp_path: Path) -> None:
    done = llama_np("RLIMIT_NOFILE", 4, "convert", model, "-o", tmp_path / "c")
    check_sentence(done, "Too many open files")
    assert os.listdir(tmp_path) == []


def test_no_memory(model: Path) -> None:
    """A cache of a context that does not fit: its size is said."""
    if not sys.platform.startswith("linux"):
        pytest.skip("RLIMIT_AS is Linux's")
    done = llama_np(
        "RLIMIT_AS", 1 << 30, "generate", "once", "-m", model, "-n", 9 << 20, "-c", 9 << 20
    )
    check_sentence(done, "memory")
    assert any(char.isdigit() for char in done.stderr)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_an_error_without_a_name_gets_one(kind: str, tmp_path: Path) -> None:
    """As write(2) gives it on a full disk; nothing is left, what was there stays."""
    target = tmp_path / "target"
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match="No space") as caught:
        if kind == "file":
            target.write_text("old")
            with writing(target) as file:
                file.write(b"new")
                raise full
        with new_directory(target) as made:
            (made / "x").write_text("new")
            raise full
    assert caught.value.filename == str(target)
    assert os.listdir(tmp_path) == (["target"] if kind == "file" else [])
    assert kind == "directory" or target.read_text() == "old"


def test_a_full_disk(model: Path, tmp_path: Path) -> None:
    """On a file system of 256 kB, where there may be one."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)]
    if os.name != "posix" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount")
    try:
        (small / "filler").write_bytes(bytes(200_000))
        record = ("golden", "record", "-p", "once", "-m", model, "--no-detect")
        done = llama_np("RLIMIT_CORE", 0, *record, "-o", small / "g")
        check_sentence(done, str(small / "g"), "No space left on device")
        done = llama_np("RLIMIT_CORE", 0, "convert", model, "-o", small / "c")
        check_sentence(done, str(small), "are needed there")
        left = {path.name for path in small.rglob("*")}
        assert left <= {"filler", "g"}, left
    finally:
        subprocess.run(["umount", str(small)], check=True)
