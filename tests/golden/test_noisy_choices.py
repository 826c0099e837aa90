"""A right choice is named also where its own noise is nearly as large as what it changes.

So it is with float16 in a model of 30 layers, where float32's noise decides which way some values
are rounded, and each layer makes that larger. The programs are another Llama (another_llama.py),
which adds its sums in other orders.
"""

import dataclasses
import functools

import numpy as np
import pytest

from numpy_llama.config import LlamaConfig
from numpy_llama.golden import CATALOGUE, CHOICES, Candidate, Report, as_text, check
from numpy_llama.golden.diagnose.choices import noisy, together
from numpy_llama.golden.diagnose.evidence import gather
from numpy_llama.golden.diagnose.search.runs import beside, main_direction
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

CONFIG = LlamaConfig(96, 30, 6, 3, 16, 128, 211, max_context=64)
CASE = Case("x1", "", CONFIG, sharpness=1.5)
TENSORS = CASE.tensors()
MODEL = Llama(CONFIG, weights_of(CONFIG, TENSORS))
PAIR = ("activations-float16", "weights-float16")
THREE = ("kv-float16", *PAIR)
PARTS = {PAIR: Parts(fed=float16), THREE: Parts(fed=float16, cached=float16)}
SEEDS = range(3)


@functools.cache
def golden() -> Bundle:
    return record(MODEL, CASE.tokens, 4, taps=["logits"], detect=False)


@functools.cache
def logits(seed: int, chosen: tuple[str, ...] = THREE) -> np.ndarray:
    """Those of a right program with these choices; of each seed, its own order of the sums."""
    random = np.random.default_rng(seed)
    D, F = random.permutation(CONFIG.dim), random.permutation(CONFIG.hidden_dim)
    kept = {name: float16(t) if t.ndim == 2 else t for name, t in TENSORS.items()}
    tokens = golden().schedule.tokens
    return logits_of(CONFIG, permuted(kept, D, F), tokens, PARTS[chosen])


def judged(values: np.ndarray, **options: object) -> Report:
    return check(golden(), Candidate({"logits": values}, "float32"), model=MODEL, **options)  # type: ignore[arg-type]


def with_all(chosen: tuple[str, ...]) -> np.ndarray:
    """The logits of the golden's model in float64, with these choices."""
    stored = [CHOICES[id] for id in chosen if CHOICES[id].stored]
    model = in_dtype(noisy.with_stored(MODEL, stored), "float64")
    schedule = golden().schedule
    for id in chosen:
        if not CHOICES[id].stored:
            model, schedule = CHOICES[id].apply(model, schedule)
    return run(model, schedule, ["logits"])["logits"]


@pytest.mark.parametrize("chosen", [PAIR, THREE])
def test_choices_are_named_whose_noise_is_as_large_as_much_of_what_they_change(
    chosen: tuple[str, ...],
) -> None:
    """How large it is depends on last digits; that it is, and that most are named, does not.

    One that is not needed to explain the logits is not named: that is no wrong name.
    """
    schedule, want = golden().schedule, golden().values["logits"]
    exact = with_all(chosen)
    for seed in SEEDS:
        off = group_errors("logits", logits(seed, chosen), want, schedule)
        left = group_errors("logits", logits(seed, chosen), exact, schedule)
        assert max(a / b for a, b in zip(left, off, strict=True)) > 0.05
    reports = [judged(logits(seed, chosen)) for seed in SEEDS]
    found = [report.chosen for report in reports]
    assert found.count(chosen) >= 2 and set(found) <= {chosen, PAIR, ()}, found
    assert all(r.diagnosis and len(r.diagnosis.suspects) <= 1 for r in reports)


def chosen_if_declared() -> list[tuple[str, ...]]:
    """What is chosen where the choices are declared, and nothing else is looked for."""
    options = {"name_mistakes": False, "allow": THREE}
    return [judged(logits(seed), **options).chosen for seed in SEEDS]


def test_they_pass_where_they_are_declared() -> None:
    assert chosen_if_declared().count(THREE) >= 2


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
    report = judged(faulty("relu", "kv-float16"), name_mistakes=False, allow=("kv-float16",))
    assert report.summary == "diverged" and report.chosen == ()


# There are 16 rows.
LIMITS = [("POINTS", 0.99), ("NEARLY", 0.01), ("ALIKE", 0.01), ("ROWS", 17)]


@pytest.mark.parametrize("limit, value", LIMITS)
def test_each_limit_is_needed(limit: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a quick look alone names a choice, nor nearness, nor likeness, nor few rows."""
    monkeypatch.setattr(noisy, limit, value)
    monkeypatch.setattr(together, "three", lambda *_: ([], []))
    assert THREE not in chosen_if_declared()


def test_all_rows_of_the_logits_have_to_be_there() -> None:
    T = len(golden().schedule.tokens)
    base = Trial((), {("logits", 0): 1.0}, {("logits", 0): 1e-3}, 0)

    def tellable(start: int, base: Trial = base) -> bool:
        some = gather(golden(), {"logits": logits(0)[start:]}, {"logits": range(start, T)})
        search = Search(MODEL, golden().schedule, some, {}, "float32", no_progress)
        return noisy.tellable(search, base)

    assert tellable(0) and not tellable(1)
    assert not tellable(0, dataclasses.replace(base, errors={("logits", 0): 0.01}))  # not clear
    assert not tellable(0, dataclasses.replace(base, faults=(CATALOGUE["relu"],)))


def test_the_direction_of_the_noise_is_that_of_most_rows() -> None:
    random = np.random.default_rng(0)
    direction = random.normal(size=50)
    direction /= np.linalg.norm(direction)
    rows = random.normal(size=(20, 1)) * direction + 0.02 * random.normal(size=(20, 50))
    rows[3], rows[4, 0] = 0, np.nan  # of rows without a direction there is none
    found = main_direction(rows)
    assert abs(found @ direction) > 0.99 and np.linalg.norm(found) == pytest.approx(1)
    left = beside(rows[5:], found)
    assert np.linalg.norm(left) < 0.3 * np.linalg.norm(rows[5:])
    np.testing.assert_allclose(left @ found, 0, atol=1e-12)
    assert not main_direction(np.zeros((2, 3))).any()


def test_a_search_knows_the_direction_of_the_model_s_own_noise() -> None:
    """Found of the model alone: the same for each set of choices, whatever the candidate is."""
    T = len(golden().schedule.tokens)
    exact, noisy_run = golden().values["logits"], in_dtype(MODEL, "float32")
    noise = run(noisy_run, golden().schedule, ["logits"])["logits"] - exact
    unit = noise / np.linalg.norm(noise, axis=-1, keepdims=True)
    for values in (logits(0), logits(1, PAIR)):
        evidence = gather(golden(), {"logits": values}, {"logits": range(T)})
        floors = {
            ("logits", i): f for i, f in enumerate(golden().group_floors("logits", "float32"))
        }
        search = Search(MODEL, golden().schedule, evidence, floors, "float32", no_progress)
        found = search.beginning(()).noise
        assert np.linalg.norm(found) == pytest.approx(1, rel=1e-5)
        share = float(np.square(unit @ found).mean())
        other = np.roll(found, 1)
        assert share > 2 * float(np.square(unit @ other).mean())
        assert search.beginning((CHOICES["kv-float16"],)).noise is found


def test_of_what_is_alike_the_fewest_choices_are_named_that_are_needed() -> None:
    """What is nearer than fewer choices, but not surely, rules these not out either."""
    random = np.random.default_rng(0)
    noise = np.exp(random.normal(0, 0.1, 20))
    ones = np.ones(20)
    one, more = (CHOICES["activations-float16"],), tuple(CHOICES[id] for id in PAIR)
    other = (CHOICES["kv-float16"],)

    def look(standard_errors: float) -> noisy.Likeness:
        share = np.log(noise) - np.log(noise).mean()
        further = standard_errors * share.std(ddof=1) / np.sqrt(20)
        return noisy.Likeness(0.5 * np.exp(share + further), ones, ones)

    best = noisy.Likeness(0.5 * ones, ones, ones)
    assert noisy.nearest({one: look(2.5), more: best}) == [one]
    assert noisy.nearest({one: look(3.5), more: best}) == [more]
    assert noisy.nearest({one: look(1.5), other: best}) == [one, other]
    assert noisy.nearest({one: look(2.5), other: best}) == [other]
    assert noisy.nearest({}) == []


def test_likeness_is_a_matter_of_most_rows() -> None:
    ones = np.ones(20)
    right = noisy.Likeness(0.5 * ones, 0.5 * ones, ones)
    assert right.alike
    assert not dataclasses.replace(right, own=0.3 * ones).alike  # further than a right run
    assert not dataclasses.replace(right, error=0.6 * ones).alike  # hardly nearer than the truth
    random = np.random.default_rng(0)
    near = dataclasses.replace(right, left=0.5 * np.exp(random.normal(0, 0.3, 20)))
    far = dataclasses.replace(near, left=near.left * np.exp(random.normal(0.3, 0.1, 20)))
    assert far.further_than(near, 2.0) and not near.further_than(far, 2.0)
    luck = dataclasses.replace(near, left=near.left * np.exp(random.normal(0.0, 0.5, 20)))
    assert not luck.further_than(near, 3.0)
