"""`llama-np learn` as a learner and a teacher meet it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from numpy_llama.commands import main
from numpy_llama.learn.course.stages import NAMES, STAGES, find_stage


def run(*args):
    return CliRunner().invoke(main, ["learn", *map(str, args)])


@pytest.fixture(scope="module")
def right(tmp_path_factory) -> Path:
    """A project whose files are all right."""
    folder = tmp_path_factory.mktemp("learn") / "right"
    folder.mkdir()
    for stage in STAGES:
        (folder / stage.file).write_text(stage.solution, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def wrong(tmp_path_factory) -> Path:
    """A project with a wrong norm, and nothing else."""
    folder = tmp_path_factory.mktemp("learn") / "wrong"
    assert run("start", folder).exit_code == 0
    text = find_stage("norm").solution.replace("np.mean(x * x, axis=-1)", "x.var(axis=-1)")
    (folder / "norm.py").write_text(text, encoding="utf-8")
    return folder


def test_start_makes_a_project_and_says_what_is_next(tmp_path):
    result = run("start", tmp_path / "mine")
    assert result.exit_code == 0 and result.stdout == ""
    assert "norm.py" in result.stderr
    assert (tmp_path / "mine" / "model.py").is_file()


def test_start_leaves_a_directory_with_something_in_it_alone(tmp_path):
    (tmp_path / "norm.py").write_text("my work")
    result = run("start", tmp_path)
    assert result.exit_code == 1 and "is there already" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["norm.py"]
    assert (tmp_path / "norm.py").read_text() == "my work"


def test_start_fills_an_empty_directory(tmp_path):
    (tmp_path / "empty").mkdir()
    assert run("start", tmp_path / "empty").exit_code == 0


def test_a_new_project_is_not_started(tmp_path):
    run("start", tmp_path / "mine")
    result = run("check", tmp_path / "mine")
    assert result.exit_code == 1
    assert result.stdout.count("not started") == len(NAMES)
    assert result.stdout.endswith("0 of 7 right; next: rms in norm.py\n")


def test_a_right_project_is_right(right):
    result = run("check", right)
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("7 of 7 right: well done\n")
    assert "our" not in result.stdout


def test_one_stage(right):
    result = run("check", right, "--stage", "rope")
    assert result.exit_code == 0
    assert [line.split()[1] for line in result.stdout.splitlines() if line.startswith("✓")] == [
        "rope"
    ]
    assert run("check", right, "--stage", "rope.py").exit_code == 0


def test_hints_grow_plainer(wrong):
    texts = [run("check", wrong, "--stage", "norm", "--hint", hint).stdout for hint in (1, 2, 3)]
    assert "expected  [3.5355]" in texts[0] and "variance" not in texts[0]
    assert "variance" in texts[1] and "norm-variance" in texts[1] and "np.var" not in texts[1]
    assert "np.var" in texts[2]


def test_json_has_it_all(wrong, right):
    result = run("check", wrong, right, "--stage", "norm", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [project["directory"] for project in found["projects"]] == [str(wrong), str(right)]
    assert [project["right"] for project in found["projects"]] == [0, 1]
    (stage,) = found["projects"][0]["stages"]
    assert stage["mistakes"] == ["norm-variance"] and stage["mend"]
    assert stage["status"] == "wrong" and stage["got"] == "[0.5]"


def test_several_projects_are_told_one_after_the_other(wrong, right):
    result = run("check", right, wrong, "--stage", "norm")
    assert result.exit_code == 1
    assert result.stdout.index(str(right)) < result.stdout.index(str(wrong))


def test_progress_is_a_line_for_each(wrong, right):
    result = run("progress", wrong, right)
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert "✗ · · · · · ·   0 of 7 right, next norm" in first
    assert "✓ ✓ ✓ ✓ ✓ ✓ ✓   7 of 7 right" in second


def test_a_solution_can_be_put_in_place(tmp_path):
    result = run("solution", "rope")
    assert result.exit_code == 0 and result.stdout == find_stage("rope").solution
    (tmp_path / "rope.py").write_text(result.stdout, encoding="utf-8")
    assert run("check", tmp_path, "--stage", "rope").exit_code == 0


@pytest.mark.parametrize(
    "args", [("solution", "nome"), ("check", ".", "--stage", "nome"), ("check", "no-such-place")]
)
def test_what_is_not_there_is_a_usage_error(args):
    result = run(*args)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("Error: ") and len(result.stderr.splitlines()) == 1


def test_a_class_of_projects_at_once(tmp_path, right):
    projects = []
    for number in range(6):
        project = tmp_path / f"learner{number}"
        project.mkdir()
        (project / "norm.py").write_text(find_stage("norm").solution, encoding="utf-8")
        projects.append(project)
    (projects[3] / "norm.py").write_text("def rms(x, eps):\n    raise KeyError(1)\n")
    result = run("check", *projects, "--stage", "norm", "--json")
    statuses = [p["stages"][0]["status"] for p in json.loads(result.stdout)["projects"]]
    assert statuses == ["right"] * 3 + ["wrong"] + ["right"] * 2  # rms_norm is not there
