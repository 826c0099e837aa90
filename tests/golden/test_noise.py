"""A right program that is beyond a golden's lucky floors is not wrong: the model's own noise is.

So it was with goldens of version 1, whose floors are of one run each. On a model whose scores are
huge and nearly tied, one ulp decides, and equally right runs are 2e-6 or 4e-5 off. The programs
are another Llama (another_llama.py), which adds its sums in other orders.
"""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
import pytest

from numpy_llama.config import LlamaConfig
from numpy_llama.golden import Candidate, as_text, check
from numpy_llama.golden.compare.verdict import Report
from numpy_llama.golden.diagnose.settle import NOISE, PARTLY
from numpy_llama.golden.kit.cases import Case
from numpy_llama.golden.record.bundle import Bundle
from numpy_llama.golden.record.record import record
from numpy_llama.golden.replay.metrics import DIVERGENT, tap_error
from numpy_llama.golden.replay.precision import in_dtype
from numpy_llama.golden.replay.replay import run
from numpy_llama.model import Llama
from tests.models import weights_of

from .another_llama import logits_of, permuted

CONFIG = LlamaConfig(48, 2, 6, 3, 8, 64, 53, max_context=64)
MODELS = ("large-norms", "x1", "x5", "x10")  # names: of each, other random weights
ORDERS = 40


@dataclasses.dataclass(frozen=True)
class Lucky:
    """A model, a golden whose floor is that of one lucky run, and a right program's logits."""

    model: Llama
    golden: Bundle
    logits: np.ndarray
    honest: Bundle  # the golden as it is recorded today


def found_in(name: str) -> Iterator[Lucky]:
    """The right programs that this golden calls wrong, and the model's own run does not."""
    case = Case(name, "", CONFIG, stream=12, sharpness=3)
    tensors = case.tensors()
    model = Llama(CONFIG, weights_of(CONFIG, tensors))
    honest = record(model, case.tokens, 4, taps=["logits"], detect=False)
    schedule, want = honest.schedule, honest.values["logits"]

    def error(logits: np.ndarray) -> float:
        return tap_error("logits", logits, want, schedule)

    def in_order(seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        D, F = random.permutation(CONFIG.dim), random.permutation(CONFIG.hidden_dim)
        return logits_of(CONFIG, permuted(tensors, D, F), schedule.tokens)

    right = [in_order(seed) for seed in range(ORDERS)]
    own = error(run(in_dtype(model, "float32"), schedule, ["logits"])["logits"])
    floor = (min(map(error, right)),) * len(schedule.groups)
    golden = dataclasses.replace(honest, version=1, floors={"float32": {"logits": floor}})
    for logits in right:
        if golden.ratio("logits", logits, "float32") > DIVERGENT and error(logits) < 3 * own:
            yield Lucky(model, golden, logits, honest)


@functools.cache
def lucky() -> Lucky:
    """Which run is lucky depends on the machine; that some are does not."""
    return next(found for name in MODELS for found in found_in(name))


def judged(candidate: Candidate, **options: object) -> Report:
    one = lucky()
    return check(one.golden, candidate, model=one.model, **options)  # type: ignore[arg-type]


def right() -> Candidate:
    return Candidate({"logits": lucky().logits}, "float32")


def test_a_right_program_beyond_lucky_floors_passes_and_is_told_why() -> None:
    report = judged(right())
    assert (report.summary, report.exit_code) == ("passed", 0)
    assert report.diagnosis is not None and report.diagnosis.outcome == "correct"
    assert report.off and NOISE in report.notes
    assert "PASSED" in as_text(report) and NOISE in as_text(report)


def test_only_the_model_tells_that_it_is_noise() -> None:
    assert judged(right(), name_mistakes=False).summary == "diverged"


def test_honest_floors_need_no_such_note() -> None:
    report = check(lucky().honest, right(), model=lucky().model)
    assert report.summary == "passed" and not report.off and NOISE not in report.notes


@pytest.mark.parametrize(
    "more", [{"greedy": [0, 0, 0, 0, 0]}, {"scalars": {"logits": {"first": [9e9]}}}]
)
def test_noise_excuses_nothing_else_that_was_given(more: dict[str, object]) -> None:
    report = judged(dataclasses.replace(right(), **more))  # type: ignore[arg-type]
    assert report.summary == "diverged" and NOISE not in report.notes
    assert report.diagnosis is not None and report.diagnosis.detail == PARTLY


def test_a_wrong_program_is_not_excused() -> None:
    wrong = lucky().logits.copy()
    wrong[-1] *= 1.01
    report = judged(Candidate({"logits": wrong}, "float32"))
    assert report.summary == "diverged" and NOISE not in report.notes
