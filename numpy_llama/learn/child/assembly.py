"""The last two stages in our Llama: a learner's block, and a learner's whole model.

They call functions of other stages themselves. Those calls are watched: what went in and came out
are taps, so that the judge can say where a wrong result comes from. Whether it is wrong, the
result alone says: others may call in other ways.
"""

from collections.abc import Callable
from dataclasses import fields
from types import ModuleType
from typing import Any

import numpy as np

from ...config import LlamaConfig
from ...model import Llama
from ...parameters import LayerWeights
from ...taps import Tap, no_tap, tap_axes
from .adapters import (
    Modules,
    with_attention,
    with_feed_forward,
    with_kv_cache,
    with_norm,
    with_rope,
)
from .guard import NotRight, checked

# What looks at a call: its arguments and its result.
Look = Callable[[tuple[Any, ...], Any], None]


def as_dict(layer: LayerWeights) -> dict[str, np.ndarray]:
    """A layer's weights as a learner has them."""
    named = {f.name: getattr(layer, f.name) for f in fields(layer)}
    return {name: array for name, array in named.items() if array is not None}


def watch(module: ModuleType, name: str, look: Look) -> None:
    """Let `look` see each call of a function through the module's own name for it, if it has it."""
    function = getattr(module, name, None)
    plain = getattr(function, "plain", function)  # as it was before it was watched
    if not callable(plain):
        return

    def call(*given: Any, **named: Any) -> Any:
        result = plain(*given, **named)
        look((*given, *named.values()), result)
        return result

    call.plain = plain  # type: ignore[attr-defined]
    setattr(module, name, call)


def watch_block(module: ModuleType, tap: Tap, L: int, config: LlamaConfig) -> None:
    """Tap what the functions that a block calls get and give: the first time, if it is of all L.

    A block may as well go token by token, or head by head; then there is nothing to see here.
    """
    seen: set[str] = set()
    sizes = config.axis_sizes | {"L": L}

    def once(name: str, array: Any) -> None:
        shape = tuple(sizes[axis] for axis in tap_axes(f"layers.0.{name}"))
        if name not in seen and isinstance(array, np.ndarray) and array.shape == shape:
            seen.add(name)
            tap(name, array)

    def projected(given: tuple[Any, ...], result: Any) -> None:
        for name, array in zip("qkv", result, strict=True):
            once(name, array)

    def attended(given: tuple[Any, ...], result: Any) -> None:
        q, k = given[:2]
        once("q_rot", q)
        once("k_rot", k[-L:])
        once("heads", result)

    watch(module, "project", projected)
    watch(module, "attend", attended)
    watch(module, "multi_head", lambda given, result: once("attn_out", result))
    watch(module, "feed_forward", lambda given, result: once("ffn_out", result))


def with_block(modules: Modules) -> type[Llama]:
    """Stage 6."""
    module = modules["block"]

    class WithBlock(with_kv_cache(modules)):  # type: ignore[misc]
        def block(
            self, x: np.ndarray, layer: LayerWeights, R: np.ndarray, seen: Any, tap: Tap
        ) -> np.ndarray:
            watch_block(module, tap, len(x), self.config)
            block = checked(module, "block")
            x = block(x.shape, x, as_dict(layer), seen.cache, seen.index, self.config)
            tap("resid_post", x)
            return x

    return WithBlock


def with_model(modules: Modules) -> type[Llama]:
    """Stage 7."""
    forward = checked(modules["model"], "forward")

    class WithModel(Llama):
        def new_cache(self, capacity: int) -> Any:
            c = self.config
            return modules["kv_cache"].KVCache(c.n_layers, capacity, c.n_kv_heads, c.head_dim)

        def forward(  # type: ignore[override]
            self, tokens: Any, cache: Any, tap: Tap = no_tap
        ) -> np.ndarray:
            def blocked(given: tuple[Any, ...], result: Any) -> None:
                if np.shape(result) == (len(tokens), self.config.dim):
                    tap(f"layers.{given[3]}.resid_post", result)

            watch(modules["model"], "block", blocked)
            before, shape = int(cache.length), (len(tokens), self.config.vocab_size)
            w = self.weights
            weights = {
                "tok_embeddings": w.tok_embeddings,
                "layers": [as_dict(layer) for layer in w.layers],
                "final_norm": w.final_norm,
                "lm_head": w.lm_head,
            }
            logits = forward(shape, list(tokens), weights, self.config, cache)
            if int(cache.length) != before + len(tokens):
                raise NotRight(
                    "forward",
                    f"forward advanced the cache by {int(cache.length) - before} positions for "
                    f"{len(tokens)} tokens: call cache.advance(L) once, after the last layer",
                )
            tap("logits", logits)
            return logits

    return WithModel


ADAPTERS: dict[str, Callable[[Modules], type[Llama]]] = {
    "norm": with_norm,
    "rope": with_rope,
    "attention": with_attention,
    "kv_cache": with_kv_cache,
    "feed_forward": with_feed_forward,
    "block": with_block,
    "model": with_model,
}
