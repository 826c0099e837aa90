"""No right program is called wrong: none is above 5 floors, where 10 are a divergence.

Every case of the kit, at every tap that the program shows. The orders of sums are 40 for each
case, where it is quick; what they differ by is noise, and what a floor must be above.
"""

import functools
from collections.abc import Mapping

import numpy as np
import pytest

from numpy_llama.config import LlamaConfig
from numpy_llama.golden import Candidate
from numpy_llama.golden.diff.diff import diff
from numpy_llama.golden.diff.text import as_text
from numpy_llama.golden.kit.cases import CASES, Case
from numpy_llama.golden.record.bundle import Bundle
from numpy_llama.golden.record.fingerprint import named_arrays
from numpy_llama.golden.record.record import record
from numpy_llama.golden.replay.metrics import relative_rms
from numpy_llama.golden.replay.precision import MEASURED, in_dtype
from numpy_llama.golden.replay.replay import run
from numpy_llama.golden.replay.rows import visible
from numpy_llama.loading.weights import load_model
from numpy_llama.model import Llama
from numpy_llama.store.find import DEFAULT_MODEL, local_models, models_dir
from numpy_llama.taps import tap_names
from tests.golden.c_llama import compiler
from tests.models import weights_of

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from . import right_programs as programs  # noqa: E402

pytestmark = pytest.mark.oracle

BAR = 5.0
BY_NAME = {case.name: case for case in CASES}
QUICK = [case.name for case in CASES if not case.slow]


@functools.cache
def model_of(name: str) -> tuple[LlamaConfig, Mapping[str, np.ndarray], Bundle]:
    """A case's config, its tensors and its golden."""
    case: Case = BY_NAME[name]
    tensors = case.tensors()
    model = Llama(case.config, weights_of(case.config, tensors))
    how = (case.decode, case.chunk, case.taps)
    return case.config, tensors, record(model, case.tokens, *how, detect=False)


def ratios(bundle: Bundle, taps: Mapping[str, np.ndarray], dtype: str) -> dict[str, float]:
    """How many floors each tap is off that the golden has too."""
    found = {}
    for name in bundle.values.keys() & taps.keys():
        array = taps[name]
        if name.endswith(".scores"):  # what a row may not see is not compared
            array = np.where(visible(array.shape[-1]), array, 0)
        found[name] = bundle.ratio(name, array, dtype)
    return found


def check(bundle: Bundle, taps: Mapping[str, np.ndarray], dtype: str, least: int = 1) -> None:
    """Assert that no tap is above the bar, and that so many were looked at."""
    found = ratios(bundle, taps, dtype)
    if bundle.values.keys() != set(tap_names(bundle.config.n_layers)):  # of a long case, a few
        least = min(least, 2 * bundle.config.n_layers + 2)  # heads, resid_post; embed, logits
    assert "logits" in found and len(found) >= least
    worst = max(found, key=lambda tap: found[tap])
    assert found[worst] <= BAR, f"{worst} is off by {found[worst]:.1f} floors"


@pytest.mark.parametrize("dtype", MEASURED)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", BY_NAME)
def test_transformers(name: str, attention: str, dtype: str) -> None:
    config, tensors, bundle = model_of(name)
    taps = programs.of_transformers(config, tensors, bundle.schedule, dtype, attention)
    check(bundle, taps, dtype, 20 if bundle.config.n_layers > 1 and name != "500-tokens" else 1)


def orders(name: str) -> range:
    """The seeds to try: long prompts take longer."""
    return range(4 if name == "500-tokens" else 40)


@pytest.mark.parametrize("before", [False, True], ids=["scale after", "scale before"])
@pytest.mark.parametrize("name", QUICK)
def test_transformers_with_the_sums_of_its_scores_in_other_orders(name: str, before: bool) -> None:
    config, tensors, bundle = model_of(name)
    for seed in orders(name):
        taps = programs.with_attention_in_order(config, tensors, bundle.schedule, seed, before)
        check(bundle, taps, "float32")


@pytest.mark.parametrize("name", QUICK)
def test_transformers_with_the_sums_of_norms_and_projections_in_other_orders(name: str) -> None:
    config, tensors, bundle = model_of(name)
    for seed in orders(name):
        taps = programs.with_stream_in_order(config, tensors, bundle.schedule, seed)
        check(bundle, taps, "float32")


@pytest.mark.skipif(compiler is None, reason="there is no C compiler")
@pytest.mark.parametrize("how", programs.C_FLAGS)
@pytest.mark.parametrize("name", BY_NAME)
def test_plain_c(name: str, how: str) -> None:
    config, tensors, bundle = model_of(name)
    check(bundle, programs.of_c(config, tensors, bundle.schedule, how), "float32")


@pytest.mark.parametrize("dtype", MEASURED)
@pytest.mark.parametrize("name", QUICK)
def test_naive_torch(name: str, dtype: str) -> None:
    config, tensors, bundle = model_of(name)
    if config.rope_scaling.type in ("dynamic", "yarn"):
        pytest.skip(f"it has no RoPE of the type {config.rope_scaling.type}")
    check(bundle, programs.of_naive_torch(config, tensors, bundle.schedule, dtype), dtype)


def test_the_floor_of_one_run_would_call_right_programs_wrong() -> None:
    """Why a floor is an envelope: on this model some right runs are lucky, whoever makes them.

    Were the luckiest of them the floor, most of the others would be wrong.
    """
    shape = {"dim": 48, "n_layers": 2, "n_heads": 6, "n_kv_heads": 3, "head_dim": 8}
    config = LlamaConfig(**shape, hidden_dim=64, vocab_size=53, max_context=64)
    case = Case("large-norms", "", config, stream=12, sharpness=3)
    tensors = case.tensors()
    bundle = record(Llama(config, weights_of(config, tensors)), case.tokens, 4, detect=False)
    errors = [
        relative_rms(
            programs.with_stream_in_order(config, tensors, bundle.schedule, seed)["logits"],
            bundle.values["logits"],
        )
        for seed in range(40)
    ]
    assert sum(error > 10 * min(errors) for error in errors) > len(errors) / 2
    assert max(errors) < BAR * bundle.floor("logits", "float32")


def test_frequencies_in_float32_are_no_error() -> None:
    """transformers computes RoPE's so; it shows where Llama 3.1's scaling takes a difference.

    Without that among the ways, it is 4 floors off here in every order of its sums.
    """
    config, tensors, bundle = model_of("rope-llama3")
    taps = programs.of_transformers(config, tensors, bundle.schedule)
    assert max(ratios(bundle, taps, "float32").values()) < 2


@functools.cache
def smollm2() -> tuple[LlamaConfig, Mapping[str, np.ndarray], Bundle]:
    """The real model, 22 tokens and 4 decode steps; logits alone."""
    model = load_model(models_dir() / DEFAULT_MODEL)
    prompt = [1, 504, 3575, 282, 4649, 314, 260, 2240, 30, 1094, 314, 253, 1123, 3575, 281, 5836]
    bundle = record(model, [*prompt, *range(1000, 1006)], 4, taps=["logits"], detect=False)
    return model.config, dict(named_arrays(model)), bundle


@pytest.mark.smollm2
@pytest.mark.skipif(DEFAULT_MODEL not in local_models(), reason="`make model` gets the model")
@pytest.mark.parametrize("dtype", MEASURED)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_transformers_on_smollm2(attention: str, dtype: str) -> None:
    config, tensors, bundle = smollm2()
    taps = programs.of_transformers(config, tensors, bundle.schedule, dtype, attention)
    check(bundle, taps, dtype)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["gqa", "biases", "rope-llama3"])
def test_the_dumps_of_two_programs_are_alike(name: str, attention: str) -> None:
    """transformers and our own model, with no golden between them; and where they part."""
    config, tensors, bundle = model_of(name)
    one = programs.of_transformers(config, tensors, bundle.schedule, "float32", attention)
    other = run(in_dtype(Llama(config, weights_of(config, tensors)), "float32"), bundle.schedule)
    found = diff(Candidate(one, "float32"), Candidate(other, "float32"))
    assert found.summary == "alike" and len(found.taps) >= 13 * config.n_layers, as_text(found)
    last = f"layers.{config.n_layers - 1}"
    wrong = dict(tensors, **{f"{last}.w_gate": -tensors[f"{last}.w_gate"]})
    other = run(in_dtype(Llama(config, weights_of(config, wrong)), "float32"), bundle.schedule)
    found = diff(Candidate(one, "float32"), Candidate(other, "float32"))
    assert found.first_difference is not None
    assert found.first_difference.tap == f"{last}.gate"
