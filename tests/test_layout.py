"""Weights laid out for decoding: the same numbers, another order in memory, no other text."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from numpy_llama.attention import attend, attend_blocked
from numpy_llama.config import RopeScaling
from numpy_llama.errors import InputError
from numpy_llama.generation import generate
from numpy_llama.loading.blas import has_avx512
from numpy_llama.loading.fast import layout, one_token, reader
from numpy_llama.loading.fast.layout import ForTexts, for_texts, joined, side_by_side, stretch
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
    memory = stretch(sum(w.size for w in matrices), np.dtype(np.float32))
    for rows_stay in (False, True):
        A = side_by_side(memory, rows_stay, *matrices)
        np.testing.assert_array_equal(A, np.concatenate(matrices).T)
        assert A.dtype == np.float32 and np.shares_memory(A, memory)
        assert A.strides[0 if rows_stay else int(np.argmax(A.shape))] == 4


def test_memory_begins_where_a_line_of_the_cache_does():
    for size in (1, 17, 5000):
        memory = stretch(size, np.dtype(np.float32))
        assert memory.shape == (size,) and memory.ctypes.data % 64 == 0


def test_biases_are_those_of_the_layers_that_have_one():
    w, b = np.ones((2, 3), np.float32), np.array([1, 2], np.float32)
    x, memory = np.array([1, 1, 1], np.float32), np.empty(12, np.float32)
    np.testing.assert_array_equal(joined(memory, False, (w, b), (w, None))(x), [4, 5, 3, 3])
    assert joined(memory, False, (w, None), (w, None)).b is None


SHAPES = [
    {},
    {"n_kv_heads": 1},
    {"n_kv_heads": 6, "n_heads": 6},
    {"head_dim": 14},
    {"attention_bias": True, "mlp_bias": True},
    {"rope_scaling": RopeScaling("yarn", 4.0, original_context=8)},
    {"rope_scaling": RopeScaling("dynamic", 4.0), "max_context": 6},
]


@pytest.fixture(params=["longer axis, AVX2", "rows, AVX-512"])
def machine(request, monkeypatch):
    """Both layouts, and the orders of products for both kinds of kernels, on any machine."""
    other = request.param == "rows, AVX-512"
    monkeypatch.setattr(layout, "in_rows", lambda nbytes: other)
    for module in (one_token, reader):
        monkeypatch.setattr(module, "is_wide", lambda: other)


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_each_token_has_the_logits_of_the_textbook(config, machine):
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
        stored.forward(random_tokens(stored.config, 9), cache)
        one.forward([7], cache, tap=lambda name, array, taps=taps: taps.update({name: array}))
        seen.append(taps)
    assert list(seen[0]) == list(seen[1])
    for name, want in seen[0].items():
        np.testing.assert_array_equal(seen[1][name], want)


@pytest.mark.parametrize("H, K", [(6, 6), (6, 2), (6, 1)])
@pytest.mark.parametrize("S", [1, 2, 77])
def test_one_query_sees_what_the_textbook_s_does(H, K, S, machine):
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


@pytest.mark.parametrize("last_only", [True, False])
@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_a_prompt_has_the_logits_of_the_textbook(config, last_only, machine):
    """In two chunks, the second after what is cached; and all positions are cached."""
    stored, exact = model(**config), model(np.float64, **config)
    ids = random_tokens(stored.config, 11)
    caches = [one.new_cache(16) for one in (stored, exact)]
    for chunk in (ids[:5], ids[5:]):
        got = for_texts(stored).forward(chunk, caches[0], last_only=last_only)
        want = exact.forward(chunk, caches[1], last_only=last_only)
        assert got.shape == want.shape and got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(caches[0].k, caches[1].k, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(caches[0].v, caches[1].v, rtol=1e-4, atol=1e-5)


def test_a_long_prompt_is_read_with_the_matrices_as_they_are(machine):
    """Of more than SHORT tokens the other order is slower."""
    stored = model()
    for tokens in (reader.SHORT, reader.SHORT + 1):
        one = reader.reader(stored, tokens, None)
        first = one.weights.layers[0]
        is_turned = isinstance(first.w_up, reader.Turned)
        assert is_turned == one.few == (reader.is_wide() and tokens <= reader.SHORT)
        assert type(first.attn_norm) is np.ndarray
    assert type(stored.weights.layers[0].w_up) is np.ndarray


def test_rows_stay_in_large_models_where_the_processor_has_avx512(monkeypatch):
    for has in (True, False):
        monkeypatch.setattr(layout, "has_avx512", lambda has=has: has)
        assert not layout.in_rows(layout.CACHED)
        assert layout.in_rows(layout.CACHED + 1) == has


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="not Linux")
def test_avx512_is_what_the_system_says():
    flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    assert has_avx512() == {"avx512f", "avx512bw", "avx512dq", "avx512vl"}.issubset(flags)


def test_of_the_last_block_the_other_tokens_are_left_out(monkeypatch):
    """The feed-forward network sees of it the last token alone."""
    stored, seen = model(), []
    feed_forward = Llama.feed_forward

    def counted(self, x, layer, tap):
        seen.append(len(x))
        return feed_forward(self, x, layer, tap)

    monkeypatch.setattr(Llama, "feed_forward", counted)
    cache = stored.new_cache(9)
    for_texts(stored).forward(random_tokens(stored.config, 9), cache, last_only=True)
    assert seen == [9] * (stored.config.n_layers - 1) + [1]


def test_a_prompt_makes_no_copy_and_a_token_does():
    stored = model()
    texts = for_texts(stored)
    cache = texts.new_cache(10)
    texts.forward(random_tokens(stored.config, 9), cache)
    assert "model" not in vars(texts.later)
    texts.forward([3], cache)
    assert "model" in vars(texts.later)
    copy = texts.later.model
    assert copy.tok_embeddings is stored.weights.tok_embeddings
    ends = [
        (layer.A.ctypes.data, layer.A.ctypes.data + layer.A.nbytes)
        for block in copy.blocks
        for layer in (block.qkv, block.out, block.gate_up, block.down)
    ]
    ends.append((copy.head.A.ctypes.data, 0))
    assert all(end == begin for (_, end), (begin, _) in zip(ends, ends[1:], strict=False))


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
