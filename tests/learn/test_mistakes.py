"""Each mistake of the table is named, or put in the right place with the right idea."""

from pathlib import Path

import pytest

from numpy_llama.learn.check import check_stage
from numpy_llama.learn.course.stages import find_stage
from numpy_llama.learn.report import as_text

from .mistakes import MISTAKES, Mistake


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: f"{m.stage}: {m.name}")
def test_a_mistake_is_named_or_rightly_placed(tmp_path: Path, mistake: Mistake) -> None:
    stage = find_stage(mistake.stage)
    text = f"{stage.solution}\n\n{mistake.text.strip()}\n"
    (tmp_path / stage.file).write_text(text, encoding="utf-8")
    outcome = check_stage(stage, tmp_path, ours=stage.needs)
    print(as_text([outcome], hint=3))

    assert outcome.status == "wrong"
    if isinstance(mistake.says, str):
        assert mistake.says in outcome.faults
        assert outcome.idea and outcome.mend
    else:
        function, word = mistake.says
        assert outcome.function == function
        told = " ".join([outcome.idea, outcome.sentence])
        assert word.lower() in told.lower()


def test_there_are_enough_of_them() -> None:
    assert len(MISTAKES) >= 40
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES)
