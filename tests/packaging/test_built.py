"""The wheel and the sdist, as a stranger gets them: built, installed or unpacked, and tried.

The wheel is installed without extras, on the oldest NumPy, sentencepiece and click that
pyproject.toml says are enough. These tests ask the package index: `make package` runs them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from numpy_llama import load_model
from tests.tiny import write_tiny_model
from tests.tokenizers.vocabularies import llama2c_bytes

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", ".hypothesis", "build", "dist", "*.egg-info", "__pycache__"
)

pytestmark = [pytest.mark.package, pytest.mark.timeout(900)]


def ran(*command: str | Path, cwd: Path, **settings: str) -> str:
    """What a command prints; it must succeed, and nothing of this clone is on its path."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LLAMA_NP_MODEL")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=inherited | settings,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def new_python(place: Path) -> Path:
    """The python of a new, empty environment."""
    ran(sys.executable, "-m", "venv", place, cwd=place.parent)
    return place / "bin" / "python"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, made of a copy of this clone, and the wheel made of it."""
    place = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, place / "copy", ignore=LEFT_OUT, symlinks=True)
    for model in (place / "copy" / "weights").glob("*/"):
        shutil.rmtree(model) if not model.is_symlink() else model.unlink()
    python = new_python(place / "builder")
    ran(python, "-m", "pip", "install", "-q", "build", cwd=place)
    ran(python, "-m", "build", "-o", place / "dist", place / "copy", cwd=place)
    return place / "dist"


@pytest.fixture(scope="module")
def oldest(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin/ of an environment with the wheel and the oldest of what it needs."""
    python = new_python(tmp_path_factory.mktemp("oldest") / "env")
    minimums = [requirement.replace(">=", "==") for requirement in PROJECT["dependencies"]]
    assert all("==" in requirement for requirement in minimums)
    ran(python, "-m", "pip", "install", "-q", *built.glob("*.whl"), *minimums, cwd=built)
    return python.parent


@pytest.fixture(scope="module")
def unpacked(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("unpacked")
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    (folder,) = place.iterdir()
    return folder


# — the wheel —


def test_the_wheel_has_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"numpy_llama"}
    ours = {str(p.relative_to(ROOT)) for p in (ROOT / "numpy_llama").rglob("*.py")}
    ours |= {str(p.relative_to(ROOT)) for p in (ROOT / "numpy_llama/show/front").iterdir()}
    assert ours | {"numpy_llama/py.typed", "numpy_llama/sources.toml"} <= set(names)
    assert [name for name in names if name.endswith("llama_tap.h")]


def test_what_runs_is_the_wheel_on_the_oldest_that_is_declared(oldest: Path) -> None:
    code = (
        "import numpy_llama, importlib.metadata as m; print(numpy_llama.__file__)\n"
        "for name in ('numpy', 'sentencepiece', 'click'): print(name, m.version(name))"
    )
    where, *versions = ran(oldest / "python", "-c", code, cwd=oldest).splitlines()
    assert Path(where).is_relative_to(oldest.parent)
    for line, requirement in zip(versions, PROJECT["dependencies"], strict=True):
        name, _, minimum = requirement.partition(">=")
        assert re.fullmatch(rf"{name} {re.escape(minimum)}(\.0)*", line), line


def test_help(oldest: Path) -> None:
    assert "generate" in ran(oldest / "llama-np", "--help", cwd=oldest)


@pytest.fixture(scope="module", params=["SentencePiece", "llama2.c"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, with one of the tokenizers that need no extra."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_model(folder)
    if request.param == "llama2.c":
        spm = folder / "tokenizer.model"
        (folder / "tokenizer.bin").write_bytes(llama2c_bytes(spm.read_bytes()))
        spm.unlink()
    return folder


def test_a_model_is_converted_and_used(oldest: Path, model: Path, tmp_path: Path) -> None:
    llama_np = oldest / "llama-np"
    ran(llama_np, "convert", model, "-o", tmp_path / "copy", cwd=tmp_path)
    texts = {
        ran(llama_np, "generate", "once upon", "-n", "6", "-m", folder, cwd=tmp_path)
        for folder in (model, tmp_path / "copy")
    }
    assert len(texts) == 1 and texts.pop().strip()
    assert len(ran(llama_np, "logits", "once", "-m", model, cwd=tmp_path).splitlines()) == 10
    assert ran(llama_np, "tokenize", "once", "-m", model, cwd=tmp_path)


def test_a_golden_is_recorded_and_checked(oldest: Path, model: Path, tmp_path: Path) -> None:
    llama_np = oldest / "llama-np"
    options = ("-m", model, "-p", "once upon", "--decode", "2")
    ran(llama_np, "golden", "record", *options, "-o", tmp_path / "golden", cwd=tmp_path)
    shown = ran(llama_np, "golden", "show", tmp_path / "golden", "--json", cwd=tmp_path)
    tokens = [str(token) for token in json.loads(shown)["schedule"]["tokens"]]
    given = ("--tokens", ",".join(tokens), "--all", "-o", tmp_path / "mine.npy")
    ran(llama_np, "logits", "-m", model, *given, cwd=tmp_path)
    command = (llama_np, "golden", "check", tmp_path / "golden", tmp_path / "mine.npy")
    assert ran(*command, cwd=tmp_path).startswith("PASSED")
    rows = load_model(model).forward([int(token) for token in tokens])
    np.testing.assert_allclose(np.load(tmp_path / "mine.npy"), rows, rtol=0, atol=1e-4)


# — the sdist —


def test_the_sdist_has_what_git_has(unpacked: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    tracked = ran("git", "ls-files", cwd=ROOT).splitlines()
    there = {str(p.relative_to(unpacked)) for p in unpacked.rglob("*")}
    assert set(tracked) - there <= {".gitignore"}


def test_the_tests_of_the_sdist_are_collected(unpacked: Path) -> None:
    command = (sys.executable, "-m", "pytest", "--collect-only", "-q")
    listed = ran(*command, cwd=unpacked).splitlines()
    files = {line.partition("::")[0] for line in listed if "::" in line}
    assert len(files) > 50 and "error" not in listed[-1], listed[-1]


def test_the_quick_tests_of_the_sdist_pass(unpacked: Path) -> None:
    """With the packages of this environment; what is tested is the unpacked copy."""
    where = "import numpy_llama; print(numpy_llama.__file__)"
    found = Path(ran(sys.executable, "-c", where, cwd=unpacked).strip())
    assert found == unpacked / "numpy_llama" / "__init__.py"
    folder = Path(sys.executable).parent
    made = ("-o", ".venv/test", f"BIN={folder}")  # install nothing
    last = ran("make", "-s", *made, "quick", cwd=unpacked).splitlines()[-1]
    assert re.match(r"\d{3,} passed", last), last
