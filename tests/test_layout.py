"""Weights laid out for decoding: the same numbers, another order in memory, no other text."""

import dataclasses

import numpy as np
import pytest

from numpy_llama.attention import attend, attend_blocked
from numpy_llama.config import RopeScaling
from numpy_llama.errors import InputError
from numpy_llama.generation import generate
from numpy_llama.loading.fast import layout
from numpy_llama.loading.fast.layout import ForTexts, for_texts, joined, side_by_side
from numpy_llama.loading.fast.one_token import attend_one
from numpy_llama.model import Llama
from numpy_llama.text import TextModel
from tests.models import random_model, random_tokens, tiny_config


def model(dtype=np.float32, **config):
    return random_model(tiny_config(**config), 0, dtype, attend_blocked)


@pytest.mark.parametrize("shapes", [
    [(1100, 130)], [(130, 1100)], [(64, 64)], [(513, 65), (2, 65)], [(3, 9), (4, 9)], [(1, 1)],
])  # fmt: skip
def test_the_values_stay_and_the_longer_axis_is_contiguous(shapes):
    rng = np.random.default_rng(0)
    matrices = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    A = side_by_side(*matrices)
    np.testing.assert_array_equal(A, np.concatenate(matrices).T)
    longer = int(np.argmax(A.shape))
    assert A.dtype == np.float32 and A.strides[longer] == 4
    if len(matrices) == 1 and shapes[0][0] <= shapes[0][1]:
        assert A.base is matrices[0]  # no copy


def test_biases_are_those_of_the_layers_that_have_one():
    w, b = np.ones((2, 3), np.float32), np.array([1, 2], np.float32)
    x = np.array([1, 1, 1], np.float32)
    np.testing.assert_array_equal(joined((w, b), (w, None))(x), [4, 5, 3, 3])
    assert joined((w, None), (w, None)).b is None


SHAPES = [
    {},
    {"n_kv_heads": 1},
    {"n_kv_heads": 6, "n_heads": 6},
    {"head_dim": 14},
    {"attention_bias": True, "mlp_bias": True},
    {"rope_scaling": RopeScaling("yarn", 4.0, original_context=8)},
    {"rope_scaling": RopeScaling("dynamic", 4.0), "max_context": 6},
]


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_each_token_has_the_logits_of_the_textbook(config):
    stored = model(**config)
    texts, exact = for_texts(stored), model(np.float64, **config)
    assert isinstance(texts, ForTexts)
    first, *rest = random_tokens(stored.config, 11)
    caches = [one.new_cache(16) for one in (stored, texts, exact)]
    for token in [first, *rest]:
        seen, got, want = (
            one.forward([token], cache)
            for one, cache in zip((stored, texts, exact), caches, strict=True)
        )
        error = np.linalg.norm(got - want) / np.linalg.norm(want)
        assert got.shape == want.shape and got.dtype == np.float32
        assert error <= 4 * np.linalg.norm(seen - want) / np.linalg.norm(want) + 1e-7
    assert [cache.length for cache in caches] == [11, 11, 11]
    np.testing.assert_allclose(caches[1].k, caches[2].k, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(caches[1].v, caches[2].v, rtol=1e-4, atol=1e-5)


def test_who_looks_at_the_taps_sees_the_model_s_own_stages():
    stored, texts = model(), for_texts(model())
    seen = []
    for one in (stored, texts):
        taps, cache = {}, one.new_cache(16)
        one.forward(random_tokens(stored.config, 9), cache)
        one.forward([7], cache, tap=lambda name, array, taps=taps: taps.update({name: array}))
        seen.append(taps)
    assert list(seen[0]) == list(seen[1])
    for name, want in seen[0].items():
        np.testing.assert_array_equal(seen[1][name], want)


@pytest.mark.parametrize("H, K", [(6, 6), (6, 2), (6, 1)])
@pytest.mark.parametrize("S", [1, 2, 77])
def test_one_query_sees_what_the_textbook_s_does(H, K, S):
    rng = np.random.default_rng(S)
    q = 5 * rng.normal(size=(1, H, 10))
    room = rng.normal(size=(2, K, S + 3, 10))  # as in a cache, where more would fit
    k, v = room[0, :, :S], room[1, :, :S]
    want = attend(q, k, v).reshape(-1)
    np.testing.assert_allclose(attend_one(q[0], k, v), want, rtol=1e-12, atol=1e-14)


def test_wrong_tokens_and_a_full_cache_are_refused_as_by_the_model():
    texts = for_texts(model())
    cache = texts.new_cache(1)
    for wrong in ([10**6], [-1], [1.5]):
        with pytest.raises(InputError):
            texts.forward(wrong, cache)
    texts.forward([3], cache)
    with pytest.raises(InputError, match="do not fit in a KV cache of 1"):
        texts.forward([3], cache)


def test_a_gate_far_below_zero_is_zero_and_no_warning():
    stored = model()
    far = tuple(
        dataclasses.replace(layer, w_gate=-1e4 * np.abs(layer.w_gate))
        for layer in stored.weights.layers
    )
    stored = Llama(stored.config, dataclasses.replace(stored.weights, layers=far), attend_blocked)
    cache = stored.new_cache(1)
    assert np.isfinite(for_texts(stored).forward([3], cache)).all()


def test_a_prompt_is_read_to_the_bit_as_without_and_makes_no_copy():
    stored = model()
    texts = for_texts(stored)
    ids = random_tokens(stored.config, 9)
    cache = texts.new_cache(10)
    np.testing.assert_array_equal(texts.forward(ids, cache), stored.forward(ids))
    assert "model" not in vars(texts.later)
    texts.forward([3], cache)
    assert "model" in vars(texts.later)
    copy = texts.later.model
    assert copy.tok_embeddings is stored.weights.tok_embeddings
    for block, own in zip(copy.blocks, stored.weights.layers, strict=True):
        assert block.gate_up.A.flags.c_contiguous
        assert block.down.A.base is own.w_down  # whose longer axis is contiguous already


def test_a_text_is_the_same_each_time():
    runs = [list(generate(for_texts(model()), [5, 6, 7], 20)) for _ in range(2)]
    assert runs[0] == runs[1] == list(generate(model(np.float64), [5, 6, 7], 20))


def test_what_would_not_pay_stays(monkeypatch):
    reference = model(np.float64)
    assert for_texts(reference) is reference

    class Other(Llama):
        """Whatever it does."""

    other = Other(model().config, model().weights, attend_blocked)
    assert for_texts(other) is other
    unblocked = Llama(model().config, model().weights, attend)
    assert for_texts(unblocked) is unblocked
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
