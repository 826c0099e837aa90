"""Every fault of the catalogue: it does something, and what it does can be recognised."""

import functools

import numpy as np
import pytest

from numpy_llama.golden import check
from numpy_llama.golden.candidate.candidate import Candidate
from numpy_llama.golden.diagnose.search.runs import BY_STEP
from numpy_llama.golden.faults import CATALOGUE
from numpy_llama.golden.faults.attention.parts import Attention
from numpy_llama.golden.record.bundle import Bundle
from numpy_llama.golden.record.detectability import fault_errors
from numpy_llama.golden.record.record import record
from numpy_llama.golden.replay.metrics import DIVERGENT
from numpy_llama.golden.replay.precision import in_dtype
from numpy_llama.golden.replay.replay import run
from numpy_llama.golden.replay.rows import last_rows
from numpy_llama.golden.replay.schedule import Schedule
from numpy_llama.model import Llama
from tests.golden.dumps import compare
from tests.models import ROPES, random_model, random_tokens, tiny_config

# θ and ε are none of the usual ones, so that every other value of them is a fault.
UNUSUAL = {"rope_theta": 3e4, "norm_eps": 3e-5}
CONFIGS = {
    "grouped": tiny_config(
        rope_scaling=ROPES["llama3"], attention_bias=True, mlp_bias=True, **UNUSUAL
    ),
    # wq and wo square, as in most models, so that a transpose goes unnoticed
    "square": tiny_config(dim=48, n_layers=2, n_heads=4, head_dim=12, **UNUSUAL),
    "yarn": tiny_config(n_layers=1, head_dim=12, rope_scaling=ROPES["yarn"], **UNUSUAL),
}
LONG = {"rope-positions-bf16": 300, "window-4096": 4100}  # rows without which nothing is wrong


@functools.cache
def model_of(name: str) -> Llama:
    return random_model(CONFIGS[name])


@functools.cache
def golden_of(name: str) -> Bundle:
    config = CONFIGS[name]
    return record(model_of(name), random_tokens(config, 14), 4, chunk=9, detect=False)


def config_for(fault: str) -> str:
    """A config in which a fault can be made."""
    return next(name for name, config in CONFIGS.items() if CATALOGUE[fault].applies(config))


def candidate_with(fault: str, golden: Bundle, model: Llama, dtype: str) -> Candidate:
    """What this package itself gives with a fault, of no more rows than a candidate would."""
    taps = run(*CATALOGUE[fault].apply(in_dtype(model, dtype), golden.schedule))
    T = len(golden.schedule.tokens)
    return Candidate({tap: last_rows(tap, array, T) for tap, array in taps.items()}, dtype)


@pytest.mark.parametrize("fault", [fault for fault in CATALOGUE if fault not in LONG])
def test_a_fault_is_named_from_its_own_float32_run(fault: str) -> None:
    name = config_for(fault)
    golden, model = golden_of(name), model_of(name)
    report = check(golden, candidate_with(fault, golden, model, "float32"), model=model)
    assert report.diagnosis is not None
    if CATALOGUE[fault].harmless:
        assert report.summary == "passed" and any(fault in note for note in report.notes)
        return
    assert report.summary == "diverged"
    assert [suspect.faults for suspect in report.diagnosis.suspects] == [(fault,)]
    assert report.diagnosis.suspects[0].residual <= DIVERGENT


@pytest.mark.parametrize("fault", LONG)
def test_a_fault_that_only_long_prompts_show_changes_them(fault: str) -> None:
    """Logits alone, and one small layer: the scores of 4,100 rows would not fit."""
    config = tiny_config(n_layers=1, max_context=8192)
    model = random_model(config, dtype=np.float32)
    schedule = Schedule.of(random_tokens(config, LONG[fault]), chunk=128)
    right = run(model, schedule, ["logits"])["logits"]
    wrong = run(*CATALOGUE[fault].apply(model, schedule), ["logits"])["logits"]
    differs = np.abs(right - wrong).max(axis=-1) > 1e-3
    first = 256 if fault == "rope-positions-bf16" else 4096
    assert differs.any() and not differs[:first].any()


def test_a_harmless_fault_changes_no_logit() -> None:
    harmless = [fault for fault in CATALOGUE.values() if fault.harmless]
    golden = golden_of("grouped")
    for fault in harmless:
        errors = fault_errors(golden, fault, in_dtype(model_of("grouped"), "float32"))
        assert golden.in_floors("logits", errors["logits"], "float32") <= 3
        assert max(map(max, errors.values())) > 1e-2  # and yet it does something
    assert harmless


def test_each_fault_tells_people_what_they_need() -> None:
    for id, fault in CATALOGUE.items():
        assert fault.id == id and fault.sentence.endswith(".") and fault.fix.endswith(".")
        assert fault.mathematics


def test_a_fault_does_not_apply_where_it_would_change_nothing() -> None:
    usual = tiny_config(n_heads=2, n_kv_heads=2, tied_head=True, norm_eps=1e-5)
    for fault in ("gqa-tiled", "head-tied", "norm-eps-1e-5", "rope-theta-1e4", "wq-transposed"):
        assert not CATALOGUE[fault].applies(usual)
    for fault in ("attention-bias-missing", "mlp-bias-missing", "rope-scaling-missing"):
        assert not CATALOGUE[fault].applies(usual)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_attention_that_faults_vary_is_the_models_own(name: str) -> None:
    model, schedule = model_of(name), golden_of(name).schedule
    varied = Llama(model.config, model.weights, Attention())
    theirs, ours = run(varied, schedule), run(model, schedule)
    for tap in ours:
        np.testing.assert_allclose(theirs[tap], ours[tap], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_faults_can_be_computed_in_narrow_formats_too(dtype: str) -> None:
    """The arrays round by themselves: a fault that left them would give float64, or be exact."""
    golden, model = golden_of("grouped"), in_dtype(model_of("grouped"), dtype)
    step = {"bfloat16": 1 << 16, "float16": 1 << 13}[dtype]
    for fault in CATALOGUE.values():
        if fault.applies(model.config):
            logits = run(*fault.apply(model, golden.schedule), ["logits"])["logits"]
            assert logits.dtype == np.float32, fault.id
            finite = logits[np.isfinite(logits) & (np.abs(logits) > 1e-3)]
            assert not (finite.view(np.uint32) % step).any(), fault.id


def test_two_faults_on_top_of_each_other_are_both_there() -> None:
    """Overrides of different stages, of the same stage, of weights, of config, of the schedule."""
    golden, model = golden_of("grouped"), model_of("grouped")
    for pair in (
        ("norm-weight-missing", "norm-mean-centred"),
        ("scale-missing", "mask-missing"),
        ("bos-missing", "relu"),
        ("rope-backwards", "decode-position-plus-1"),
        ("k-v-swapped", "norm-eps-zero"),
    ):
        both, schedule = model, golden.schedule
        for fault in pair:
            both, schedule = CATALOGUE[fault].apply(both, schedule)
        together = run(both, schedule, ["logits"])["logits"]
        for fault in pair:
            alone = run(*CATALOGUE[fault].apply(model, golden.schedule), ["logits"])["logits"]
            n = min(len(alone), len(together))
            assert np.abs(alone[-n:] - together[-n:]).max() > 1e-6, pair


def test_a_correct_model_passes_at_every_dtype() -> None:
    golden, model = golden_of("grouped"), model_of("grouped")
    for dtype in ("float64", "float32", "bfloat16", "float16"):
        report = compare(golden, Candidate(run(in_dtype(model, dtype), golden.schedule), dtype))
        assert report.summary == "passed"
        assert {tap.verdict for tap in report.taps} == {"ok"}


def test_which_faults_know_the_steps_of_a_run() -> None:
    """All others are looked at in one call: there, their logits are the same to a rounding."""
    configs = [tiny_config(rope_scaling=rope) for rope in ROPES.values() if rope.type != "dynamic"]
    steps, found = (20, 15, *[1] * 10), set()
    for config in (*configs, tiny_config(n_kv_heads=6), tiny_config(tied_head=True)):
        model = random_model(config, 0, np.float64)
        schedule = Schedule(tuple(random_tokens(config, sum(steps))), steps)
        for fault in CATALOGUE.values():
            if fault.applies(config):
                by_step, at_once = (
                    run(*fault.apply(model, one), ["logits"])["logits"]
                    for one in (schedule, schedule.merged)
                )
                same = by_step.shape == at_once.shape and np.allclose(by_step, at_once, 1e-9, 1e-9)
                found |= set() if same else {fault.id}
    assert found == BY_STEP
