"""Code that does not end well, ends in a sentence; nothing of ours is shown to a learner."""

import json
from pathlib import Path

import pytest

from numpy_llama.errors import InputError
from numpy_llama.learn.check import check_project, check_stage
from numpy_llama.learn.course.stages import find_stage
from numpy_llama.learn.judge import Outcome
from numpy_llama.learn.report import as_text

NORM = find_stage("norm")
BEGINNING = "import numpy as np\n\n\ndef rms(x, eps):\n"  # the body begins on line 5
SECOND = "\n\ndef rms_norm(x, gain, eps):\n    return x / rms(x, eps)[:, None] * gain\n"


def outcome_of(folder: Path, body: str, seconds: float = 30.0) -> Outcome:
    """What comes of `rms` with this body."""
    (folder / "norm.py").write_text(BEGINNING + body + SECOND, encoding="utf-8")
    outcome = check_stage(NORM, folder, seconds=seconds)
    text = as_text([outcome], hint=3)
    assert "Traceback" not in text
    assert "numpy_llama" not in text and "child.py" not in text
    return outcome


def test_an_error_shows_the_line_of_the_learner(tmp_path):
    outcome = outcome_of(tmp_path, "    size = x @ x\n    return size")
    assert (outcome.status, outcome.function, outcome.line) == ("error", "rms", 5)
    assert outcome.source == "size = x @ x"
    assert outcome.sentence.startswith("ValueError: matmul")
    assert outcome.example is not None  # with what it was called


def test_of_nested_calls_the_innermost_line_of_the_learners_files_is_shown(tmp_path):
    (tmp_path / "helper.py").write_text("def size(x):\n    return np.sqrt(x)\n")
    outcome = outcome_of(tmp_path, "    from helper import size\n    return size(x)")
    assert (outcome.status, outcome.line) == ("error", 2)
    assert outcome.source == "return np.sqrt(x)"
    assert "NameError" in outcome.sentence


def test_an_error_within_numpy_shows_the_line_that_called_it(tmp_path):
    outcome = outcome_of(tmp_path, "    eps = 0\n    return np.linalg.inv(np.zeros((2, 2)))")
    assert outcome.status == "error" and outcome.sentence.startswith("LinAlgError")
    assert (outcome.line, outcome.source) == (6, "return np.linalg.inv(np.zeros((2, 2)))")


def test_a_file_that_python_cannot_read(tmp_path):
    outcome = outcome_of(tmp_path, "    return np.sqrt((x * x).mean(-1) + eps")
    assert outcome.status == "error" and outcome.sentence.startswith("SyntaxError")
    assert outcome.line == 5


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "norm.py").write_bytes(b"\xff\xfe\x00")
    assert check_stage(NORM, tmp_path).status == "error"


def test_an_endless_loop_is_stopped_and_its_line_shown(tmp_path):
    outcome = outcome_of(tmp_path, "    while True:\n        eps = eps + 1", seconds=4)
    assert outcome.status == "stopped"
    assert "4 seconds" in outcome.sentence and "endless" in outcome.sentence
    assert outcome.line in (5, 6)


def test_a_process_that_dies_is_told_with_its_line(tmp_path):
    outcome = outcome_of(tmp_path, "    import ctypes\n    return ctypes.string_at(0)")
    assert outcome.status == "stopped" and "ended before" in outcome.sentence
    assert outcome.line == 6


@pytest.mark.parametrize("body", ["    raise SystemExit(0)", "    exit()"])
def test_exit_is_no_success(tmp_path, body):
    outcome = outcome_of(tmp_path, body)
    assert outcome.status == "error" and "exit()" in outcome.sentence


def test_leaving_the_process_is_no_success(tmp_path):
    outcome = outcome_of(tmp_path, "    import os\n    os._exit(0)")
    assert outcome.status == "stopped"


def test_too_much_memory_is_refused(tmp_path):
    pytest.importorskip("resource")
    outcome = outcome_of(tmp_path, "    return np.ones(1 << 28)[: len(x)]")
    assert outcome.status == "error" and outcome.line == 5
    assert "emory" in outcome.sentence  # NumPy's words or Python's


def test_too_deep_a_recursion(tmp_path):
    outcome = outcome_of(tmp_path, "    return rms(x, eps)")
    assert outcome.status == "error" and outcome.sentence.startswith("RecursionError")


def test_nobody_answers_a_question(tmp_path):
    outcome = outcome_of(tmp_path, "    return float(input())")
    assert outcome.status == "error" and "EOFError" in outcome.sentence


def test_what_is_printed_is_shown_and_safe(tmp_path):
    body = '    print("\\x1b[2J", x.shape)\n    return np.sqrt((x * x).mean(-1) + eps)'
    outcome = outcome_of(tmp_path, body)
    assert outcome.status == "right"
    text = as_text([outcome])
    assert "it printed" in text and "(1, 2)" in text  # an example's shape, not the model's
    assert "\x1b" not in text


def test_a_flood_of_printing_is_cut(tmp_path):
    body = "    print('word ' * 100_000)\n    return np.sqrt((x * x).mean(-1) + eps)"
    text = as_text([outcome_of(tmp_path, body)])
    assert len(text) < 3_000


def test_a_function_that_forgets_to_return(tmp_path):
    outcome = outcome_of(tmp_path, "    size = np.sqrt((x * x).mean(-1) + eps)")
    assert outcome.status == "wrong" and "return" in outcome.sentence


def test_text_for_numbers(tmp_path):
    outcome = outcome_of(tmp_path, "    return 'five'")
    assert outcome.status == "wrong" and "no array of numbers, but a str" in outcome.sentence


def test_a_function_that_was_renamed(tmp_path):
    text = NORM.solution.replace("rms_norm", "norm")
    (tmp_path / "norm.py").write_text(text)
    outcome = check_stage(NORM, tmp_path)
    assert outcome.status == "wrong" and "rms_norm" in outcome.sentence


def test_a_stage_half_done_is_not_started_further(tmp_path):
    end = NORM.solution.index("    return x / rms")
    (tmp_path / "norm.py").write_text(NORM.solution[:end] + "    raise NotImplementedError\n")
    outcome = check_stage(NORM, tmp_path)
    assert (outcome.status, outcome.function) == ("not started", "rms_norm")


def test_a_file_that_is_missing(tmp_path):
    outcome = check_stage(NORM, tmp_path)
    assert outcome.status == "missing" and "norm.py" in as_text([outcome])


def test_a_wrong_value_that_no_example_shows_is_found_in_the_model(tmp_path):
    """Right for up to two rows, wrong for more: the judge sees what the examples do not."""
    body = "    size = np.sqrt((x * x).mean(-1) + eps)\n    return size * (1 + (len(x) > 2))"
    outcome = outcome_of(tmp_path, body)
    assert outcome.status == "wrong" and outcome.example is None
    assert outcome.tap == "layers.0.attn_norm.rms" and outcome.function == "rms"
    assert outcome.idea and outcome.got != outcome.expected


def test_a_learners_file_does_not_stand_for_pythons(tmp_path):
    (tmp_path / "colorsys.py").write_text("raise RuntimeError('mine')\n")
    (tmp_path / "calendar.py").write_text("raise RuntimeError('mine')\n")
    (tmp_path / "norm.py").write_text(NORM.solution + "\nimport colorsys, calendar\n")
    assert check_stage(NORM, tmp_path).status == "right"


def test_a_check_leaves_the_project_as_it_was(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    (tmp_path / "norm.py").write_text(NORM.solution)
    check_stage(NORM, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["norm.py"]


def test_a_directory_that_is_none(tmp_path):
    with pytest.raises(InputError, match="no directory"):
        list(check_project(tmp_path / "nobody"))


def test_the_named_mistake_of_the_notes(tmp_path):
    """The formula that some notes have for SwiGLU is the identity: here it has its name."""
    stage = find_stage("feed_forward")
    wrong = stage.solution.replace(
        "return z / (1 + np.exp(-z))",
        "s = 1 / (1 + np.exp(-z))\n    return z * s + (1 - s) * z",
    )
    (tmp_path / stage.file).write_text(wrong, encoding="utf-8")
    outcome = check_stage(stage, tmp_path)
    assert outcome.faults == ("silu-identity",)
    hints = [as_text([outcome], hint) for hint in (1, 2, 3)]
    assert "expected  [0, 0.73106, -0.26894]" in hints[0]
    assert "idea" not in hints[0] and "more: --hint 2" in hints[0]
    assert "silu-identity" in hints[1] and "mend" not in hints[1]
    assert "mend      swish(z) = z * σ(z)" in hints[2] and "more:" not in hints[2]


def test_the_text_of_results_can_be_read_by_any_json(tmp_path):
    from numpy_llama.learn.report import as_json

    outcome = outcome_of(tmp_path, "    return x[:, 0] * np.nan")
    assert outcome.status == "wrong"
    text = json.dumps(as_json([("mine", [outcome])]), allow_nan=False)
    assert json.loads(text)["projects"][0]["stages"][0]["got"] == "[nan]"


def test_what_is_unusual_and_harmless_is_right_with_a_note(tmp_path):
    """Positions counted from 1: every score is the same, for only distances count."""
    stage = find_stage("block")
    text = stage.solution.replace(
        "np.arange(cache.length, cache.length + len(x))",
        "np.arange(cache.length, cache.length + len(x)) + 1",
    )
    assert text != stage.solution
    (tmp_path / stage.file).write_text(text, encoding="utf-8")
    outcome = check_stage(stage, tmp_path, ours=stage.needs)
    assert outcome.status == "right"
    assert "rope-from-1" in as_text([outcome])
