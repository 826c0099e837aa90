"""Sampling against distributions computed by hand."""

import math

import numpy as np
import pytest

from numpy_llama.errors import InputError, NumericError
from numpy_llama.sampling import Sampling, next_token_probabilities, sample

P = np.array([0.5, 0.25, 0.15, 0.1])
LOGITS = np.log(P) + 3.0  # a shift of all logits changes nothing


def probabilities(seen=(), **settings):
    return next_token_probabilities(LOGITS, Sampling(**settings), seen)


def test_greedy_is_the_default_and_takes_the_first_of_equals():
    assert next_token_probabilities(np.array([1.0, 5.0, 5.0]), Sampling()).tolist() == [0, 1, 0]


def test_temperature_one_is_the_model_s_own_distribution():
    np.testing.assert_allclose(probabilities(temperature=1.0), P, rtol=1e-12)


def test_temperature_is_a_power_of_the_probabilities():
    np.testing.assert_allclose(probabilities(temperature=0.5), P**2 / (P**2).sum(), rtol=1e-12)


@pytest.mark.parametrize("temperature", [1e-300, 1e-9])
def test_a_tiny_temperature_is_greedy_without_overflow(temperature):
    np.testing.assert_allclose(probabilities(temperature=temperature), [1, 0, 0, 0])


def test_top_k_keeps_the_likeliest():
    np.testing.assert_allclose(probabilities(temperature=1.0, top_k=2), [2 / 3, 1 / 3, 0, 0])
    np.testing.assert_allclose(probabilities(temperature=1.0, top_k=99), P)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.0, 1), (0.49, 1), (0.51, 2), (0.74, 2), (0.76, 3), (0.95, 4), (1.0, 4)]
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(top_p, kept):
    expected = np.where(np.arange(4) < kept, P, 0) / P[:kept].sum()
    np.testing.assert_allclose(probabilities(temperature=1.0, top_p=top_p), expected, rtol=1e-12)


@pytest.mark.parametrize(("min_p", "kept"), [(0.19, 4), (0.21, 3), (0.31, 2), (0.6, 1), (1.0, 1)])
def test_min_p_is_relative_to_the_likeliest(min_p, kept):
    expected = np.where(np.arange(4) < kept, P, 0) / P[:kept].sum()
    np.testing.assert_allclose(probabilities(temperature=1.0, min_p=min_p), expected, rtol=1e-12)


def test_the_filters_come_after_the_temperature():
    """At T = 2 the likeliest has 0.36: top-p 0.45 needs two tokens. Before T one would do."""
    flat = np.sqrt(P) / np.sqrt(P).sum()
    assert flat[0] < 0.45 < P[0]
    kept = probabilities(temperature=2.0, top_p=0.45)
    np.testing.assert_allclose(kept, [flat[0] / flat[:2].sum(), flat[1] / flat[:2].sum(), 0, 0])


def test_top_p_sees_what_top_k_left():
    """After top-k 2 the two have 2/3 and 1/3: top-p 0.6 then keeps one. By itself it keeps two."""
    np.testing.assert_allclose(probabilities(temperature=1.0, top_k=2, top_p=0.6), [1, 0, 0, 0])


def test_a_repeated_token_loses_whatever_its_sign():
    logits = np.array([2.0, -2.0, 1.0])
    p = next_token_probabilities(logits, Sampling(temperature=1.0, repeat_penalty=2.0), [0, 1, 1])
    e = np.exp([1.0, -4.0, 1.0])
    np.testing.assert_allclose(p, e / e.sum(), rtol=1e-12)


def test_the_penalty_counts_in_greedy_choice_too():
    assert probabilities(seen=[0], repeat_penalty=2.0).argmax() == 1


def test_draws_follow_the_distribution():
    rng = np.random.default_rng(7)
    settings = Sampling(temperature=1.0)
    draws = np.bincount([sample(LOGITS, settings, rng) for _ in range(20_000)], minlength=4)
    error = np.sqrt(P * (1 - P) / 20_000)
    assert (abs(draws / 20_000 - P) < 5 * error).all()


def test_a_seed_repeats_itself_and_another_differs():
    def text(seed):
        rng = np.random.default_rng(seed)
        return [sample(LOGITS, Sampling(temperature=1.0), rng) for _ in range(40)]

    assert text(1) == text(1) != text(2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    with pytest.raises(NumericError, match="not finite"):
        next_token_probabilities(np.array([0.0, bad]), Sampling())


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 1.5},
        {"top_p": math.nan},
        {"min_p": -0.1},
        {"repeat_penalty": 0.0},
        {"repeat_penalty": math.inf},
    ],
)
def test_settings_out_of_range_are_named(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        Sampling(**settings)
