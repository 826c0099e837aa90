"""A right choice is named also where its own noise is nearly as large as what it changes.

So it is with a float16 cache in a model of 30 layers, where float32's noise decides which way some
keys are rounded, and each layer makes that larger. The programs are another Llama
(another_llama.py), which adds its sums in other orders.
"""

import dataclasses
import functools

import numpy as np
import pytest

from numpy_llama.config import LlamaConfig
from numpy_llama.golden import CATALOGUE, CHOICES, Candidate, Report, as_text, check
from numpy_llama.golden.diagnose.choices import noisy
from numpy_llama.golden.diagnose.evidence import gather
from numpy_llama.golden.diagnose.search.search import Search
from numpy_llama.golden.diagnose.search.trial import Trial
from numpy_llama.golden.kit.cases import Case
from numpy_llama.golden.progress import no_progress
from numpy_llama.golden.record.bundle import Bundle
from numpy_llama.golden.record.record import record
from numpy_llama.golden.replay.metrics import group_errors
from numpy_llama.golden.replay.precision import in_dtype
from numpy_llama.golden.replay.replay import run
from numpy_llama.model import Llama
from tests.models import weights_of

from .another_llama import Parts, float16, logits_of, permuted

CONFIG = LlamaConfig(48, 30, 6, 3, 8, 64, 53, max_context=64)
CASE = Case("x1", "", CONFIG, stream=4, sharpness=2)
TENSORS = CASE.tensors()
MODEL = Llama(CONFIG, weights_of(CONFIG, TENSORS))
CHOICE = "kv-float16"


@functools.cache
def golden() -> Bundle:
    return record(MODEL, CASE.tokens, 4, taps=["logits"], detect=False)


@functools.cache
def logits(seed: int) -> np.ndarray:
    """Those of a right program with a float16 cache; of each seed, its own order of the sums."""
    random = np.random.default_rng(seed)
    D, F = random.permutation(CONFIG.dim), random.permutation(CONFIG.hidden_dim)
    tokens = golden().schedule.tokens
    return logits_of(CONFIG, permuted(TENSORS, D, F), tokens, Parts(cached=float16))


def judged(values: np.ndarray, **options: object) -> Report:
    return check(golden(), Candidate({"logits": values}, "float32"), model=MODEL, **options)  # type: ignore[arg-type]


def left(seed: int) -> float:
    """The largest share of the error, of any group of rows, that the choice leaves."""
    schedule, want = golden().schedule, golden().values["logits"]
    exact = run(*CHOICES[CHOICE].apply(in_dtype(MODEL, "float64"), schedule), ["logits"])
    off = group_errors("logits", logits(seed), want, schedule)
    still = group_errors("logits", logits(seed), exact["logits"], schedule)
    return max(a / b for a, b in zip(still, off, strict=True))


def test_a_choice_is_named_whose_noise_is_as_large_as_what_it_changes() -> None:
    """How large it is depends on last digits; that it is, and that most are named, does not."""
    seeds = range(3)
    assert sum(left(seed) > 0.7 for seed in seeds) >= 2
    reports = [judged(logits(seed)) for seed in seeds]
    chosen = [report.chosen for report in reports]
    assert chosen.count((CHOICE,)) >= 2 and set(chosen) <= {(CHOICE,), ()}, chosen
    assert all(r.diagnosis and len(r.diagnosis.suspects) <= 1 for r in reports)


def chosen_if_declared(seeds: int = 3) -> list[tuple[str, ...]]:
    """What is chosen where the choice is declared, and nothing else is looked for."""
    options = {"name_mistakes": False, "allow": (CHOICE,)}
    return [judged(logits(seed), **options).chosen for seed in range(seeds)]


def test_it_passes_where_it_is_declared() -> None:
    assert chosen_if_declared().count((CHOICE,)) >= 2


def faulty(fault: str, choice: str = "") -> np.ndarray:
    """The logits of the model with a mistake, and with a choice."""
    model, schedule = CATALOGUE[fault].apply(in_dtype(MODEL, "float32"), golden().schedule)
    if choice:
        model, schedule = CHOICES[choice].apply(model, schedule)
    return run(model, schedule, ["logits"])["logits"][-len(golden().schedule.tokens) :]


# Some that are small, some of what a narrow cache or softmax changes, some that are neither.
MISTAKES = (
    "norm-variance",
    "norm-mean-centred",
    "rope-theta-5e5",
    "rope-table-bf16",
    "scale-missing",
    "gqa-tiled",
    "cache-misses-self",
    "gelu-tanh",
)


@pytest.mark.parametrize("fault", MISTAKES)
def test_no_mistake_is_called_a_choice(fault: str) -> None:
    """Not in a deep model either, where whatever is wrong looks alike after 30 layers."""
    report = judged(faulty(fault), name_mistakes=False, allow=tuple(CHOICES))
    assert report.summary == "diverged" and report.chosen == (), as_text(report)


def test_a_right_choice_beside_a_mistake_is_not_enough() -> None:
    report = judged(faulty("relu", CHOICE), name_mistakes=False, allow=(CHOICE,))
    assert report.summary == "diverged" and report.chosen == ()


# There are 16 rows.
@pytest.mark.parametrize("limit, least", [("ALIKE", 0.01), ("NEARLY", 0.01), ("ROWS", 17)])
def test_each_limit_is_needed(limit: str, least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its noise alone nor its rows alone name a choice, nor do few rows."""
    monkeypatch.setattr(noisy, limit, least)
    assert chosen_if_declared().count(()) >= 2


def test_it_is_of_choices_of_what_is_computed_and_of_all_rows() -> None:
    T = len(golden().schedule.tokens)
    evidence = gather(golden(), {"logits": logits(0)}, {"logits": range(T)})
    search = Search(MODEL, golden().schedule, evidence, {}, "float32", no_progress)
    one, other = CHOICES[CHOICE], CHOICES["softmax-bfloat16"]

    def tellable(*faults: object) -> bool:
        return noisy.tellable(search, Trial(faults, {}, {}, 0))  # type: ignore[arg-type]

    stored = CHOICES["weights-q8-0"]
    assert tellable(one) and tellable(one, other) and tellable(stored, one)
    assert not tellable(stored) and not tellable(CATALOGUE["relu"], one)
    some = gather(golden(), {"logits": logits(0)[1:]}, {"logits": range(1, T)})
    search = dataclasses.replace(search, evidence=some)
    assert not tellable(one)
