"""What the documents show is what happens: their commands, outputs, programs and numbers."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from numpy_llama.commands import main

ROOT = Path(__file__).resolve().parent.parent
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
DOCUMENTS = [ROOT / "README.md", CONTRIBUTING, ROOT / "CHANGELOG.md"]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))


def blocks(language: str) -> list[tuple[Path, str]]:
    """Every fenced block of a language in the documents."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(path, text) for path in DOCUMENTS for text in pattern.findall(path.read_text())]


def sessions() -> list[tuple[str, str]]:
    """Each `$ command` of the console blocks with the output below it."""
    found = []
    for _, text in blocks("console"):
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def matches(shown: str, actual: str) -> bool:
    """Whether the output is the one shown, where … stands for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.rstrip("\n").split("…"))
    return re.fullmatch(pattern, actual.rstrip("\n"), re.DOTALL) is not None


def environment() -> dict[str, str]:
    """This Python's commands first on the path, and none of the user's own settings."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "LLAMA_NP", "MFLAGS"))
    }
    return inherited | {"PATH": path}


@pytest.mark.smollm2
@pytest.mark.parametrize(("command", "output"), sessions())
def test_a_command_prints_what_the_document_shows(command, output):
    if command.startswith("make") and not (ROOT / ".venv" / "run").exists():
        pytest.skip("make has not installed into .venv here")
    if command.startswith("llama-np") and not shutil.which("llama-np", path=environment()["PATH"]):
        pytest.skip("llama-np is not installed here")
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd=ROOT, env=environment()
    )
    assert done.returncode == 0, done.stderr
    assert matches(output, done.stdout), done.stdout


PROGRAMS = re.compile(r"^```python\n(.*?)^```\n```output\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def programs() -> list[Any]:
    """Each program with the output shown below it; those that load weights need the real model."""
    found = []
    for path in DOCUMENTS:
        for number, (program, output) in enumerate(PROGRAMS.findall(path.read_text()), 1):
            marks = [pytest.mark.smollm2] if "smollm2" in program else []
            found.append(pytest.param(program, output, marks=marks, id=f"{path.stem}-{number}"))
    return found


@pytest.mark.parametrize(("program", "output"), programs())
def test_a_program_prints_what_is_shown_below_it(program, output):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert matches(output, done.stdout), done.stdout + done.stderr


def test_the_read_through_shows_programs():
    assert len(programs()) >= 10


def test_the_reading_table_counts_the_lines_right():
    rows = re.findall(r"\]\(([a-z_]+/[a-z_]+\.py)\) \| (\d+) \|", (ROOT / "README.md").read_text())
    assert len(rows) >= 12
    for path, lines in rows:
        assert len((ROOT / path).read_text().splitlines()) == int(lines), path


def test_the_read_through_needs_no_tests():
    """Whoever has only installed the package can run its programs."""
    assert "from tests" not in (ROOT / "docs" / "read-through.md").read_text()


def test_every_room_and_every_file_outside_one_is_on_the_map():
    """On the map of CONTRIBUTING.md, or in the README's reading order, to which it leads."""
    shown = CONTRIBUTING.read_text() + (ROOT / "README.md").read_text()
    package = ROOT / "numpy_llama"
    rooms = [path.parent for path in package.rglob("__init__.py")]
    for path in [*rooms, *package.glob("[a-z]*.py")]:
        assert f"]({path.relative_to(ROOT)})" in shown or path == package, path


def test_every_target_that_is_named_is_in_the_makefile():
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for path in [*DOCUMENTS, ROOT / ".ci" / "run"]:
        for line in re.findall(r"(?:^|`)make ((?:[a-z]+ ?)+)", path.read_text(), re.MULTILINE):
            named = [word for word in line.split(" ") if word]
            assert named[0] in targets, f"{path.name}: make {line}"


def test_the_hosted_ci_runs_what_every_commit_must_pass():
    hosted = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert re.findall(r"run: (.*)", hosted) == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_every_command_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    for name in main.commands:
        assert f"`{name}`" in readme, name


def test_links_lead_to_files():
    for path in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            assert "://" in link or (path.parent / link).exists(), f"{path.name}: {link}"


def test_the_first_screen_has_the_two_commands():
    first = (ROOT / "README.md").read_text().splitlines()[:24]
    assert "$ make run" in first and "make test" in first


@pytest.mark.parametrize("shown", ["abc", "a…c", "…"])
def test_matching_knows_an_ellipsis(shown):
    assert matches(shown, "abc\n")


def test_matching_can_fail():
    assert not matches("abc", "abd")
    assert not matches("a…d", "abc")


def test_the_readme_counts_the_catalogue_right():
    from numpy_llama.golden.faults import CATALOGUE

    assert f"which of {len(CATALOGUE)} known mistakes" in (ROOT / "README.md").read_text()
