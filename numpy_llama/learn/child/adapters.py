"""Our Llama with a learner's functions in place of one of its stages.

A learner's functions are simpler than ours: no taps, and the tokens always on the first axis. Each
adapter calls them where ours would be called, and shows the judge what they gave. `modules` has the
file of each stage: the learner's, or ours where theirs is not right yet.
"""

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from ...kv_cache import LayerCache
from ...model import Llama
from ...parameters import LayerWeights, linear
from ...taps import Tap, no_tap
from .guard import NotRight, as_array, checked

Modules = Mapping[str, ModuleType]


def with_norm(modules: Modules) -> type[Llama]:
    """Stage 1."""
    rms, rms_norm = checked(modules["norm"], "rms"), checked(modules["norm"], "rms_norm")

    class WithNorm(Llama):
        def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
            tap(f"{name}.rms", rms((len(x),), x, self.config.norm_eps))
            y = rms_norm(x.shape, x, gain, self.config.norm_eps)
            tap(name, y)
            return y

    return WithNorm


def with_rope(modules: Modules) -> type[Llama]:
    """Stage 2. Angles go where our rotation matrices do."""
    angles, rotate = checked(modules["rope"], "angles"), checked(modules["rope"], "rotate")

    class WithRope(Llama):
        def rotations(self, start: int, L: int) -> np.ndarray:
            hd, theta = self.config.head_dim, self.config.rope_theta
            return angles((L, hd // 2), np.arange(start, start + L), theta, hd)

        def turn(
            self, q: np.ndarray, k: np.ndarray, R: np.ndarray, tap: Tap
        ) -> tuple[np.ndarray, np.ndarray]:
            q, k = rotate(q.shape, q, R), rotate(k.shape, k, R)
            tap("q_rot", q)
            tap("k_rot", k)
            return q, k

    return WithRope


def with_attention(modules: Modules) -> type[Llama]:
    """Stage 3."""
    scores = checked(modules["attention"], "attention_scores")
    attend = checked(modules["attention"], "attend")

    def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, tap: Tap = no_tap) -> np.ndarray:
        k, v = (one.transpose(1, 0, 2).copy() for one in (k, v))  # (S, K, hd)
        tap("scores", scores((q.shape[1], len(q), len(k)), q, k))
        return attend(q.shape, q, k, v)

    class WithAttention(Llama):
        def multi_head(
            self, x: np.ndarray, layer: LayerWeights, R: np.ndarray, seen: LayerCache, tap: Tap
        ) -> np.ndarray:
            return Llama(self.config, self.weights, attention).multi_head(x, layer, R, seen, tap)

    return WithAttention


class LayerOfLearner:
    """One layer's part of a learner's cache, as our model uses it: heads first."""

    def __init__(self, cache: Any, index: int):
        self.cache, self.index = cache, index

    def write(self, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, ...]:
        """Store, and give all keys and values back: (K, S, hd)."""
        both = self.cache.write(self.index, k, v)
        if not isinstance(both, tuple | list) or len(both) != 2:
            raise NotRight("write", "write must return two arrays: all keys, and all values")
        arrays = [as_array("write", one) for one in both]
        shape = (int(self.cache.length) + len(k), *k.shape[1:])
        for array in arrays:
            if array.shape != shape:
                sentence = f"write returned the shape {array.shape}; it must be {shape}"
                raise NotRight("write", sentence)
        return tuple(array.transpose(1, 0, 2) for array in arrays)


class CacheOfLearner:
    """A learner's KVCache, as our model uses it."""

    def __init__(self, cache: Any, n_layers: int):
        self.cache, self.n_layers = cache, n_layers

    @property
    def length(self) -> int:
        return int(self.cache.length)

    def check_room(self, new: int) -> None:
        """There is room: the model asked for it."""

    def __iter__(self) -> Iterator[LayerOfLearner]:
        return (LayerOfLearner(self.cache, i) for i in range(self.n_layers))

    def advance(self, new: int) -> None:
        self.cache.advance(new)


def with_kv_cache(modules: Modules) -> type[Llama]:
    """Stage 4."""
    KVCache = modules["kv_cache"].KVCache

    class WithKVCache(Llama):
        def new_cache(self, capacity: int) -> Any:
            c = self.config
            own = KVCache(c.n_layers, capacity, c.n_kv_heads, c.head_dim)
            return CacheOfLearner(own, c.n_layers)

    return WithKVCache


def with_feed_forward(modules: Modules) -> type[Llama]:
    """Stage 5."""
    swiglu = checked(modules["feed_forward"], "swiglu")
    whole = checked(modules["feed_forward"], "feed_forward")

    class WithFeedForward(Llama):
        def feed_forward(self, x: np.ndarray, layer: LayerWeights, tap: Tap) -> np.ndarray:
            gate, up = linear(x, layer.w_gate), linear(x, layer.w_up)
            tap("gate", gate)
            tap("up", up)
            tap("swiglu", swiglu(gate.shape, gate, up))
            out = whole(x.shape, x, layer.w_gate, layer.w_up, layer.w_down)
            tap("ffn_out", out)
            return out

    return WithFeedForward
