"""A right solution is never called wrong, however it is written."""

from pathlib import Path

import pytest

from numpy_llama.learn.check import check_project, check_stage
from numpy_llama.learn.course.stages import STAGES, find_stage
from numpy_llama.learn.project import start_project
from numpy_llama.learn.report import as_text

from .right_ones import RIGHT

ALL = [(stage, way, text) for stage, ways in RIGHT.items() for way, text in ways.items()]


@pytest.mark.parametrize(("name", "way", "text"), ALL, ids=lambda value: value[:30])
def test_a_right_solution_is_right(tmp_path: Path, name: str, way: str, text: str) -> None:
    stage = find_stage(name)
    (tmp_path / stage.file).write_text(text, encoding="utf-8")
    outcome = check_stage(stage, tmp_path, ours=stage.needs)
    assert outcome.status == "right", as_text([outcome], hint=3)
    assert not outcome.notes


def test_there_are_five_of_each_stage() -> None:
    assert list(RIGHT) == [stage.name for stage in STAGES]
    assert all(len(ways) >= 5 for ways in RIGHT.values())


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_our_solution_is_right_where_it_takes_the_stubs_place(tmp_path: Path, stage) -> None:
    project = tmp_path / "mine"
    start_project(project)
    (project / stage.file).write_text(stage.solution, encoding="utf-8")
    (outcome,) = check_project(project, [stage.name])
    assert outcome.status == "right"
    assert outcome.ours == stage.needs  # the others are stubs


def test_a_whole_project_uses_nothing_of_ours(tmp_path: Path) -> None:
    """Stages written in different ways, put together."""
    for stage in STAGES:
        text = list(RIGHT[stage.name].values())[1]
        mine = f"{text}\nprint('my', __name__)\n"
        (tmp_path / stage.file).write_text(mine, encoding="utf-8")
    outcomes = list(check_project(tmp_path))
    assert [outcome.status for outcome in outcomes] == ["right"] * len(STAGES)
    assert not any(outcome.ours for outcome in outcomes)
    assert all(f"my {stage.name}" in outcomes[-1].printed for stage in STAGES)


def test_ours_stand_in_where_an_earlier_stage_is_wrong(tmp_path: Path) -> None:
    for stage in STAGES:
        (tmp_path / stage.file).write_text(stage.solution, encoding="utf-8")
    wrong = find_stage("norm").solution.replace("* gain", "* gain * 2")
    (tmp_path / "norm.py").write_text(wrong, encoding="utf-8")
    outcomes = list(check_project(tmp_path))
    assert [o.status for o in outcomes] == ["wrong", *["right"] * (len(STAGES) - 1)]
    assert [o.ours for o in outcomes[-2:]] == [("norm",), ("norm",)]
