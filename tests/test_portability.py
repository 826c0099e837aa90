"""Other systems than the one that these tests run on: their encodings, and their free memory."""

import ast
import ctypes
import subprocess
import tomllib
import types
from pathlib import Path

import pytest

from numpy_llama.loading import memory

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = [*(ROOT / "numpy_llama").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]


def names_no_encoding(call: ast.Call) -> bool:
    """Whether a call reads or writes text in whatever encoding the system prefers."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    given = {each.arg for each in call.keywords}
    if "encoding" in given:
        return False
    if name == "read_text":  # of a Path; ours, of other things, take more than one argument
        return isinstance(call.func, ast.Attribute) and not call.args
    if name == "write_text":
        return isinstance(call.func, ast.Attribute) and len(call.args) < 2
    if name in ("open", "fdopen"):
        modes = [a.value for a in call.args if isinstance(a, ast.Constant)]
        return any(m in ("r", "w", "a", "x", "rt", "wt", "r+", "w+") for m in modes) or (
            isinstance(call.func, ast.Name) and len(call.args) == 1
        )
    return any(each.arg in ("text", "universal_newlines") for each in call.keywords) and name in (
        "run",
        "Popen",
        "check_output",
    )


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_text_file_is_opened_with_its_encoding(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert [call.lineno for call in calls if names_no_encoding(call)] == []


@pytest.mark.parametrize(
    "code",
    ["p.read_text()", "p.write_text('x')", "open(p)", "open(p, 'w')", "p.open('w')",
     "subprocess.run(c, text=True)"],
)  # fmt: skip
def test_the_scan_sees_what_it_looks_for(code: str) -> None:
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call) and names_no_encoding(call)


VM_STAT = b"""Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            300000.
Pages inactive:                           20000.
Pages speculative:                         3000.
Pages throttled:                              0.
Pages wired down:                        120000.
Pages purgeable:                           1234.
"""


def test_free_memory_of_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    done = subprocess.CompletedProcess([], 0, VM_STAT)
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: done)
    assert memory.free_memory() == 33000 * 16384
    done.stdout = b"something else"
    assert memory.free_memory() is None


class Status(ctypes.Structure):
    """MEMORYSTATUSEX, as Microsoft documents it."""

    _fields_ = [
        ("dwLength", ctypes.c_uint32),
        ("dwMemoryLoad", ctypes.c_uint32),
        ("ullTotalPhys", ctypes.c_uint64),
        ("ullAvailPhys", ctypes.c_uint64),
        ("ullTotalPageFile", ctypes.c_uint64),
        ("ullAvailPageFile", ctypes.c_uint64),
        ("ullTotalVirtual", ctypes.c_uint64),
        ("ullAvailVirtual", ctypes.c_uint64),
        ("ullAvailExtendedVirtual", ctypes.c_uint64),
    ]


def test_free_memory_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(place: object) -> int:
        status = Status.from_buffer(place)  # type: ignore[arg-type]
        if status.dwLength != ctypes.sizeof(Status):
            return 0  # as Windows does
        status.dwMemoryLoad, status.ullTotalPhys, status.ullAvailPhys = 50, 16 << 30, 7 << 30
        return 1

    kernel32 = types.SimpleNamespace(GlobalMemoryStatusEx=answer)
    monkeypatch.setattr(ctypes, "windll", types.SimpleNamespace(kernel32=kernel32), raising=False)
    monkeypatch.setattr("sys.platform", "win32")
    assert memory.free_memory() == 7 << 30


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32", "plan9"])
def test_a_system_that_does_not_say_is_no_error(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    def no_file(*args: object, **options: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "read_text", no_file)
    monkeypatch.setattr(subprocess, "run", no_file)
    assert memory.free_memory() is None


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_oldest_python_that_is_declared_reads_every_file(path: Path) -> None:
    oldest = tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))
    ast.parse(path.read_text(encoding="utf-8"), feature_version=oldest)


def test_the_classifiers_begin_with_the_oldest_python() -> None:
    mark = "Programming Language :: Python :: 3."
    minors = [int(c.removeprefix(mark)) for c in PROJECT["classifiers"] if c.startswith(mark)]
    assert f">=3.{minors[0]}" == PROJECT["requires-python"]
    assert minors == list(range(minors[0], minors[-1] + 1))


def test_all_is_every_extra_of_a_user() -> None:
    extras = PROJECT["optional-dependencies"]
    assert extras["all"] == [extras[name][0] for name in ("bpe", "gguf", "chat", "hub", "speed")]
