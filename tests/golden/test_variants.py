"""Equally right computations: each is right, and each is another one."""

import itertools
import math

import numpy as np
import pytest

from numpy_llama.golden.replay.metrics import relative_rms, tap_error
from numpy_llama.golden.replay.override import change_layers
from numpy_llama.golden.replay.precision import MEASURED, UNIT_ROUNDOFF, BFloat16, in_dtype
from numpy_llama.golden.replay.replay import run
from numpy_llama.golden.replay.schedule import Schedule
from numpy_llama.golden.replay.variants import (
    FURTHER,
    IN_TURN,
    Float32,
    frequencies_in_float32,
    spread,
    variants,
)
from numpy_llama.model import Llama
from numpy_llama.rope_scaling import frequencies
from tests.models import ROPES, random_model, random_tokens, tiny_config

CONFIG = tiny_config(n_layers=2, attention_bias=True, mlp_bias=True)
MODEL = random_model(CONFIG, dtype=np.float32)
SCHEDULE = Schedule.of(random_tokens(CONFIG, 9), random_tokens(CONFIG, 2), chunk=5)


@pytest.mark.parametrize("n", [*range(1, 70), 576, 1000])
def test_an_order_is_a_permutation(n: int) -> None:
    for ratio in (0.618, 0.414, 0.268):
        assert sorted(spread(n, ratio)) == list(range(n))
    if n > 20:
        assert not np.array_equal(spread(n, 0.618), spread(n, 0.414))
        assert not (np.abs(np.diff(spread(n, 0.618))) == 1).any()


@pytest.mark.parametrize("dtype", MEASURED)
def test_each_way_is_right_and_none_is_another(dtype: str) -> None:
    truth = run(in_dtype(MODEL, "float64"), SCHEDULE)
    runs = [run(variant, SCHEDULE) for variant in variants(MODEL, dtype)]
    assert len(runs) == (4 if dtype == "float32" else 3)
    for taps in runs:
        assert list(taps) == list(truth)
        for name in truth:  # all of them, scores and probabilities too
            error = tap_error(name, taps[name], truth[name], SCHEDULE)
            assert error < 60 * UNIT_ROUNDOFF[dtype], name
    # In so small a model, an order alone changes no value of a narrow dtype.
    others = runs if dtype == "float32" else [runs[0], runs[2]]
    for one, other in itertools.combinations(others, 2):
        assert relative_rms(one["logits"], other["logits"]) > 0.5 * UNIT_ROUNDOFF[dtype]


def test_narrow_ways_show_narrow_values() -> None:
    for variant in variants(MODEL, "bfloat16"):
        for name, array in run(variant, SCHEDULE).items():
            assert not (array.view(np.uint32) % (1 << 16)).any(), name


def float32_of(x: np.ndarray, ways: dict) -> np.ndarray:  # type: ignore[type-arg]
    return x.astype(np.float32).view(type("Way", (Float32,), {"ways": ways}))


def test_arrays_that_compute_in_another_way_compute_the_same() -> None:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((3, 7, 50)), random.standard_normal((3, 50, 11))
    for ways in (IN_TURN, FURTHER):
        x, y = float32_of(a, ways), float32_of(b, ways)
        got = [x @ y, x @ b.astype(np.float32), x.mean(-1), x.sum(-2, keepdims=True), x / 3, 1 / x]
        want = [a @ b, a @ b, a.mean(-1), a.sum(-2, keepdims=True), a / 3, 1 / a]
        for one, other in zip(got, want, strict=True):
            assert type(one) is type(x) and one.dtype == np.float32 and one.shape == other.shape
            assert 0 < relative_rms(one, other) < 1e-6
        joined = np.concatenate([x, np.where(x > 0, x, 0)], axis=0)
        assert type(joined) is type(x)


def test_sums_of_another_order_differ_in_their_last_digits() -> None:
    """Terms of which the order decides what is left of them."""
    terms = np.array([1.0, 2.0**-24, 2.0**-24, 2.0**-24, 2.0**-24, -1.0] * 8)
    assert float32_of(terms, IN_TURN).sum() == 0  # each is lost beside the 1, one after the other
    row, column = float32_of(terms[None], FURTHER), np.ones((len(terms), 1), np.float32)
    assert (row @ column)[0, 0] != (np.asarray(row)[:, spread(48, 0.414)] @ column)[0, 0]


def test_narrow_arrays_round_where_they_say() -> None:
    x = BFloat16.of(np.array([1.0, 3.0, 1 / 3]))
    fused = x.view(type("Fused", (BFloat16,), {"stored": (np.add,)}))
    third = fused / 3
    assert not np.array_equal(third, x / 3)  # not yet
    np.testing.assert_array_equal(third + 0, x / 3)  # but where it is added to something
    np.testing.assert_array_equal(fused * (1 / 3) @ np.eye(3, dtype=np.float32), x * (1 / 3))


@pytest.mark.parametrize("rope", ROPES)
def test_frequencies_in_float32_are_nearly_those_of_float64(rope: str) -> None:
    config = tiny_config(rope_scaling=ROPES[rope], max_context=12, head_dim=16)
    exact, magnitude = frequencies(config, 40)
    single, same = frequencies_in_float32(config, 40)
    assert single.dtype == np.float32 and same == magnitude
    assert np.abs(single / exact - 1).max() < 2.0**-20
    assert not np.array_equal(single, exact.astype(np.float32))


def test_layers_are_converted_once_unless_they_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    conversions = []
    counted = change_layers(MODEL, lambda layer, i: conversions.append(i) or layer)
    expected = [run(variant, SCHEDULE)["logits"] for variant in variants(counted, "bfloat16")]
    assert conversions == [0, 1]
    monkeypatch.setattr("numpy_llama.golden.replay.variants.HELD", 0)
    again = [run(variant, SCHEDULE)["logits"] for variant in variants(counted, "bfloat16")]
    assert len(conversions) == 2 + 3 * len(SCHEDULE.steps) * 2
    for one, other in zip(expected, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_way_keeps_what_else_was_changed() -> None:
    """A fault, for one: its own noise can be measured in the same ways."""

    class Zero(Llama):
        def embed(self, ids: np.ndarray) -> np.ndarray:
            return super().embed(ids) * 0

    zero = Zero(MODEL.config, MODEL.weights)
    for variant in variants(zero, "float32"):
        logits = run(variant, SCHEDULE, ["embed"])["embed"]
        assert not logits.any() and math.isfinite(logits.sum())
