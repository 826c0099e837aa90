"""A prompt in parts that are read at once: the same model, the same cache, and no end without."""

import dataclasses
import os

import numpy as np
import pytest

from numpy_llama.attention import attend_blocked
from numpy_llama.loading.fast.layout import for_texts
from numpy_llama.loading.fast.wavefront import EVEN, LEAST, LONG, ends, in_parts, read_in_parts
from numpy_llama.loading.parallel import pool
from numpy_llama.loading.threads import OWN
from numpy_llama.taps import Tap, no_tap
from numpy_llama.text import TextModel
from tests.models import ROPES, random_model, random_tokens, tiny_config

SHAPES = [{}, {"n_kv_heads": 1}, {"attention_bias": True}, {"rope_scaling": ROPES["yarn"]}]


def model(dtype=np.float64, attention=attend_blocked, **config):
    return random_model(tiny_config(**config), 0, dtype, attention)


@pytest.mark.parametrize("config", SHAPES, ids=str)
@pytest.mark.parametrize("parts", [1, 2, 3, 5])
@pytest.mark.parametrize("before", [0, 9])
@pytest.mark.parametrize("last_only", [True, False])
def test_it_is_the_prompt_in_one(config, parts, before, last_only):
    m = model(**config)
    ids = np.array(random_tokens(m.config, before + 23))
    whole, cut = m.new_cache(40), m.new_cache(40)
    for cache in (whole, cut):
        if before:
            m.forward(ids[:before], cache)
    want = m.forward(ids[before:], whole, last_only=last_only)
    got = read_in_parts(m, ids[before:], cut, last_only, parts)
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)
    assert cut.length == whole.length == before + 23
    np.testing.assert_allclose(cut.k, whole.k, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(cut.v, whole.v, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
@pytest.mark.parametrize("start", [0, 50, 10**6])
@pytest.mark.parametrize("more", [0, 1, 3, 1000, 100_000])
def test_no_part_is_empty_and_later_ones_are_no_longer(parts, start, more):
    L = parts * LEAST + more
    borders = ends(model(), start, L, parts)
    lengths = np.diff([0, *borders])
    assert len(borders) == parts and borders[-1] == L
    assert lengths.min() >= 1
    even = EVEN if L >= 4 * EVEN * parts else 1  # to which a border is rounded
    assert all(border % even == 0 for border in borders[:-1])
    assert all(
        later <= earlier + even for earlier, later in zip(lengths, lengths[1:], strict=False)
    )


class Wrong(Exception):
    """Of one part."""


@pytest.mark.parametrize("first", [0, 1, 2])
def test_what_a_part_raises_ends_all(first):
    """`first`: the part that raises; those after it wait for it in every layer."""
    m = model()
    ids = np.array(random_tokens(m.config, 24))
    borders = [0, *ends(m, 0, 24, 3)]

    def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, tap: Tap = no_tap) -> np.ndarray:
        if k.shape[1] == borders[first + 1]:
            raise Wrong
        return attend_blocked(q, k, v, tap)

    broken, cache = dataclasses.replace(m, attention=attention), m.new_cache(24)
    with pytest.raises(Wrong):
        read_in_parts(broken, ids, cache, True, 3)
    assert cache.length == 0
    want = m.forward(ids, m.new_cache(24), last_only=True)
    got = read_in_parts(m, ids, cache, True, 3)
    np.testing.assert_allclose(got, want, rtol=1e-11)


def test_without_another_thread_the_bits_are_the_same(monkeypatch):
    m = model(np.float32)
    ids = np.array(random_tokens(m.config, 24))
    want = read_in_parts(m, ids, m.new_cache(24), False, 3)

    def submit(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool(os.getpid()), "submit", submit)
    got = read_in_parts(m, ids, m.new_cache(24), False, 3)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("last_only", [True, False])
def test_logits_and_scores_are_read_in_parts(monkeypatch, last_only):
    monkeypatch.setenv(OWN, "3")
    seen = []

    def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, tap: Tap = no_tap) -> np.ndarray:
        seen.append(len(q))
        return attend_blocked(q, k, v, tap)

    exact = model()
    text = TextModel(dataclasses.replace(exact, attention=attention), "nowhere", tokenizer=None)
    ids = random_tokens(exact.config, 29)
    got = text.logits(ids, last_only=last_only)
    of_the_last = 1 if last_only else 29
    assert sum(seen) == 29 * (exact.config.n_layers - 1) + of_the_last and max(seen) < 12
    want = exact.forward(ids, last_only=last_only)
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)
    rows = exact.forward(ids)
    logs = rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))
    each = [logs[i, ids[i + 1]] for i in range(28)]
    np.testing.assert_allclose(text.logprobs(ids), each, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("tokens, parts", [(2 * LONG - 1, 1), (2 * LONG, 2)])
def test_long_prompts_are_read_in_parts(monkeypatch, tokens, parts):
    """Short ones by the threads of the BLAS: each part reads all weights."""
    monkeypatch.setenv(OWN, "2")
    stored, seen = model(np.float32, max_context=512), []

    def parts_of(model, ids, cache, last_only, parts):
        seen.append(parts)
        return read_in_parts(model, ids, cache, last_only, parts)

    monkeypatch.setattr("numpy_llama.loading.fast.wavefront.read_in_parts", parts_of)
    texts, ids = for_texts(stored), random_tokens(stored.config, tokens)
    got = texts.forward(ids, texts.new_cache(tokens), last_only=True)
    assert sum(seen) == (parts if parts > 1 else 0)
    want = model(max_context=512).forward(ids, last_only=True)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


def test_a_streamed_model_is_read_once():
    streamed = model()
    object.__setattr__(streamed.weights, "layers", list(streamed.weights.layers))
    assert in_parts(streamed) is streamed


def test_angles_that_know_the_length_of_the_prompt_have_it_in_one(monkeypatch):
    """Else a dynamic RoPE would turn the first part as a shorter prompt."""
    monkeypatch.setenv(OWN, "3")
    config = {"rope_scaling": ROPES["dynamic"], "max_context": 16}
    stored = model(np.float32, **config)
    ids = random_tokens(stored.config, 30)
    np.testing.assert_array_equal(in_parts(stored).forward(ids), stored.forward(ids))
