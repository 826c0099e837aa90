"""The KV cache: what is written is what is read, and the length counts it."""

import numpy as np
import pytest

from numpy_llama.errors import InputError
from numpy_llama.kv_cache import KVCache
from tests.models import random_model, random_tokens, tiny_config


def empty(capacity: int = 8, dtype: type = np.float64) -> KVCache:
    return KVCache.empty(tiny_config(), capacity, like=np.empty(0, dtype))


def some(L: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Keys and values of L positions: (L, K, hd)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(L, 2, 8)), rng.normal(size=(L, 2, 8))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_empty_cache_has_the_shape_of_the_config(dtype: type) -> None:
    cache = empty(5, dtype)
    assert cache.k.shape == cache.v.shape == (3, 2, 5, 8)  # N, K, S_max, hd
    assert cache.k.dtype == cache.v.dtype == dtype
    assert (cache.length, cache.capacity) == (0, 5)
    assert not np.shares_memory(cache.k, cache.v)


def test_chunks_are_read_back_in_order() -> None:
    cache = empty()
    k, v = some(7)
    for start, stop in [(0, 3), (3, 4), (4, 7)]:
        for layer, seen in enumerate(cache):
            assert (seen.index, seen.start) == (layer, start)
            keys, values = seen.write(k[start:stop] + layer, v[start:stop] - layer)
            assert np.array_equal(keys, k[:stop].transpose(1, 0, 2) + layer)
            assert np.array_equal(values, v[:stop].transpose(1, 0, 2) - layer)
            assert keys.base is cache.k  # a view: nothing is copied
        cache.advance(stop - start)
    assert cache.length == 7


def test_writing_alone_advances_nothing() -> None:
    """Every layer of one forward sees the same positions."""
    cache = empty()
    for seen in cache:
        keys, _ = seen.write(*some(4))
        assert keys.shape == (2, 4, 8)
    assert cache.length == 0


def test_there_is_one_part_for_each_layer() -> None:
    assert [seen.index for seen in empty()] == [0, 1, 2]


def test_room_is_checked_to_the_position() -> None:
    cache = empty(5)
    cache.check_room(5)
    cache.advance(3)
    cache.check_room(2)
    with pytest.raises(InputError, match="6 positions do not fit in a KV cache of 5"):
        cache.check_room(3)


def test_truncate_forgets_and_never_adds() -> None:
    cache = empty()
    cache.advance(5)
    cache.truncate(7)
    assert cache.length == 5
    cache.truncate(2)
    assert cache.length == 2


def test_after_truncate_the_model_goes_on_as_if_it_had_never_seen_the_rest() -> None:
    model = random_model(tiny_config())
    tokens, other = random_tokens(model.config, 9), random_tokens(model.config, 4, seed=1)
    cache, fresh = model.new_cache(12), model.new_cache(12)
    model.forward(tokens, cache)
    cache.truncate(5)
    model.forward(tokens[:5], fresh)
    assert model.forward(other, cache) == pytest.approx(model.forward(other, fresh), abs=1e-12)
