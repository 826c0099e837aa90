"""Weights laid out for decoding: the same numbers, another order in memory, no other text."""

import numpy as np
import pytest

from numpy_llama.attention import attend, attend_blocked
from numpy_llama.generation import generate
from numpy_llama.loading import layout
from numpy_llama.loading.layout import ForTexts, attend_one, for_texts, longer_axis_contiguous
from numpy_llama.model import Llama
from numpy_llama.text import TextModel
from tests.models import random_model, random_tokens, tiny_config


@pytest.fixture(autouse=True)
def tiny_is_large(monkeypatch):
    monkeypatch.setattr(layout, "LARGE", 1)


def model(dtype=np.float32):
    return random_model(tiny_config(), 0, dtype, attend_blocked)


@pytest.mark.parametrize("shape", [(1100, 130), (130, 1100), (64, 64), (513, 65), (5,), (3, 2)])
def test_the_values_stay_and_the_longer_axis_is_contiguous(shape):
    w = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    turned = longer_axis_contiguous(w)
    np.testing.assert_array_equal(turned, w)
    assert turned.shape == w.shape and turned.dtype == w.dtype
    if len(shape) == 2:
        longer = int(np.argmax(shape))
        assert turned.strides[longer] == w.itemsize or shape[0] == shape[1]
    assert longer_axis_contiguous(turned) is turned  # once is enough


def test_a_small_matrix_stays(monkeypatch):
    monkeypatch.setattr(layout, "LARGE", 401)
    w = np.zeros((20, 5), np.float32)
    assert longer_axis_contiguous(w) is w


def test_every_tap_is_the_same_but_for_rounding():
    stored, texts = model(), for_texts(model())
    assert isinstance(texts, ForTexts)
    ids = random_tokens(stored.config, 9)
    seen = []
    for one in (stored, texts):
        taps, cache = {}, one.new_cache(16)
        one.forward(ids, cache)
        one.forward([7], cache, tap=lambda name, array, taps=taps: taps.update({name: array}))
        seen.append(taps)
    assert list(seen[0]) == list(seen[1])
    for name, want in seen[0].items():
        np.testing.assert_allclose(seen[1][name], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("H, K", [(6, 6), (6, 2), (6, 1)])
@pytest.mark.parametrize("S", [1, 2, 77])
def test_one_query_sees_what_the_textbook_s_does(H, K, S):
    rng = np.random.default_rng(S)
    q = 5 * rng.normal(size=(1, H, 10))
    room = rng.normal(size=(2, K, S + 3, 10))  # as in a cache, where more would fit
    k, v = room[0, :, :S], room[1, :, :S]
    np.testing.assert_allclose(attend_one(q, k, v), attend(q, k, v), rtol=1e-12, atol=1e-14)


def test_decoding_attends_with_one_query_where_it_was_blocked():
    assert for_texts(model()).later.model.attention is attend_one
    own = random_model(tiny_config(), 0, np.float32, attend)
    assert for_texts(own).later.model.attention is attend


def test_a_prompt_is_read_to_the_bit_as_without_and_makes_no_copy():
    stored = model()
    texts = for_texts(stored)
    ids = random_tokens(stored.config, 9)
    np.testing.assert_array_equal(texts.forward(ids), stored.forward(ids))
    assert "model" not in vars(texts.later)
    texts.forward([3])
    assert "model" in vars(texts.later)
    copy = texts.later.model.weights
    assert copy.tok_embeddings is stored.weights.tok_embeddings
    for layer, own in zip(copy.layers, stored.weights.layers, strict=True):
        assert layer.w_up.T.flags.c_contiguous and not own.w_up.T.flags.c_contiguous
        assert layer.w_down is own.w_down  # whose longer axis is contiguous already


def test_a_text_is_the_same_each_time():
    runs = [list(generate(for_texts(model()), [5, 6, 7], 20)) for _ in range(2)]
    assert runs[0] == runs[1] == list(generate(model(np.float64), [5, 6, 7], 20))


def test_what_would_not_pay_stays(monkeypatch):
    reference = model(np.float64)
    assert for_texts(reference) is reference

    class Other(Llama):
        """Whatever it does."""

    other = Other(model().config, model().weights)
    assert for_texts(other) is other
    streamed = model()
    object.__setattr__(streamed.weights, "layers", list(streamed.weights.layers))
    assert for_texts(streamed) is streamed
    monkeypatch.setattr(layout, "MOST", 1000)
    large = model()
    assert for_texts(large) is large


def test_a_text_model_decodes_with_it_and_scores_without():
    m = TextModel(model(), "nowhere", tokenizer=None)
    assert isinstance(m.decoding, ForTexts) and m.decoding is m.decoding
    assert type(m.llama) is Llama
