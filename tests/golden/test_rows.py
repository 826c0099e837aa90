"""What right and wrong rows of the logits say before any mistake is tried."""

import numpy as np
import pytest

from numpy_llama.golden import check
from numpy_llama.golden.candidate.candidate import Candidate
from numpy_llama.golden.compare.verdict import Diagnosis
from numpy_llama.golden.diagnose.evidence import gather
from numpy_llama.golden.diagnose.rows import acquitted_families, judge_rows
from numpy_llama.golden.diagnose.search.trial import Trial
from numpy_llama.golden.faults import CATALOGUE
from numpy_llama.golden.replay.precision import in_dtype
from numpy_llama.golden.replay.replay import run
from numpy_llama.golden.report.text import as_text
from tests.golden.test_parameters import MODEL, golden


def logits_with(fault: str) -> np.ndarray:
    model, schedule = CATALOGUE[fault].apply(in_dtype(MODEL, "float32"), golden().schedule)
    return run(model, schedule, ["logits"])["logits"]


def diagnosed(logits: np.ndarray) -> Diagnosis:
    diagnosis = check(golden(), Candidate({"logits": logits}, "float32"), model=MODEL).diagnosis
    assert diagnosis is not None
    return diagnosis


@pytest.mark.parametrize(
    "fault, begins, says",
    [
        ("rope-backwards", "row 0 is right", ""),
        ("mask-upper-left", "rows 0 to 8 are right", "only rows after a chunk's border (9)"),
        ("decode-position-plus-1", "rows 0 to 13 are right", "only decode rows are wrong"),
        ("relu", "", ""),
    ],
)
def test_the_rows_accuse_and_acquit(fault: str, begins: str, says: str) -> None:
    evidence = diagnosed(logits_with(fault)).evidence
    assert evidence.startswith(begins) and says in evidence
    assert bool(evidence) == bool(begins)
    assert ("only" in evidence) == bool(says)


def test_no_row_acquits_the_family_of_the_mistake_that_was_made() -> None:
    for fault in ("rope-backwards", "mask-not-self", "decode-position-zero", "gelu-erf"):
        diagnosis = diagnosed(logits_with(fault))
        assert CATALOGUE[fault].family not in diagnosis.acquitted
    assert "feed_forward" in diagnosed(logits_with("rope-backwards")).acquitted


def test_a_right_row_acquits_only_what_shows_in_it() -> None:
    """Two of a family that was tried: one would show in row 0, the other was not seen there."""
    relu, gelu = CATALOGUE["relu"], CATALOGUE["gelu-erf"]
    trials = [Trial((relu,), {}, {}, 0, shows=frozenset({0, 1})), Trial((gelu,), {}, {}, 0)]
    assert acquitted_families(trials, frozenset({"relu"})) == ()
    assert acquitted_families(trials, frozenset({"relu", "gelu-erf"})) == ("feed_forward",)


def test_each_row_is_judged_by_the_floor_of_its_group() -> None:
    logits = golden().values["logits"].copy()
    logits[3] *= 1.01
    rows = judge_rows(
        golden(), gather(golden(), {"logits": logits}, {"logits": range(18)}), "float32"
    )
    assert rows.wrong == {3} and rows.right == set(range(18)) - {3}
    some = gather(golden(), {"logits": logits[[3, 5]]}, {"logits": [3, 5]})
    assert judge_rows(golden(), some, "float32").right == {5}


def test_the_report_has_the_sentence() -> None:
    report = check(
        golden(), Candidate({"logits": logits_with("rope-backwards")}, "float32"), model=MODEL
    )
    assert "    rows         row 0 is right, which speaks against" in as_text(report)


def test_with_taps_the_stages_say_more_than_rows() -> None:
    model, schedule = CATALOGUE["rope-backwards"].apply(MODEL, golden().schedule)
    report = check(golden(), Candidate(run(model, schedule), "float64"), model=MODEL)
    assert report.diagnosis is not None
    assert report.diagnosis.evidence == "" and report.diagnosis.acquitted == ()
