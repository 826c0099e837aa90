"""Mistakes in what the KV cache holds, and in the tokens that it is given."""

from collections.abc import Iterator

import numpy as np

from ....kv_cache import KVCache, LayerCache
from ....model import Llama
from ...replay.override import override
from ...replay.schedule import Schedule
from ..fault import Fault


class ReadFirst(LayerCache):
    """A layer's cache that gives back, in a decode step, what it held before the step."""

    def write(self, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        keys, values = super().write(k, v)
        if self.start and len(k) == 1:
            return keys[:, :-1], values[:, :-1]
        return keys, values


class WithoutNewest(KVCache):
    def __iter__(self) -> Iterator[LayerCache]:
        return (ReadFirst(self, i) for i in range(len(self.k)))


def misses_itself(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
    """The cache is read before the new key and value are written to it."""

    class Missing(Llama):
        def new_cache(self, capacity: int) -> KVCache:
            cache = super().new_cache(capacity)
            return WithoutNewest(cache.k, cache.v)

    return override(model, Missing), schedule


def run_before(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
    """The same run once more, with the cache that the first one left."""
    return model, Schedule(schedule.tokens * 2, schedule.steps * 2)


def prompt_end_lost(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
    """Decode steps do not see the row of the prompt's last token."""

    class WithoutRow(LayerCache):
        def write(self, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            keys, values = super().write(k, v)
            if self.start < schedule.prompt:
                return keys, values
            lost = schedule.prompt - 1
            return np.delete(keys, lost, axis=1), np.delete(values, lost, axis=1)

    class Losing(KVCache):
        def __iter__(self) -> Iterator[LayerCache]:
            return (WithoutRow(self, i) for i in range(len(self.k)))

    class Lost(Llama):
        def new_cache(self, capacity: int) -> KVCache:
            cache = super().new_cache(capacity)
            return Losing(cache.k, cache.v)

    return override(model, Lost), schedule


def prompt_end_repeated(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
    """The first decode step is given the prompt's last token once more."""
    tokens, end = schedule.tokens, schedule.prompt
    decoding = len(tokens) - end
    steps = schedule.steps[: len(schedule.steps) - decoding]
    again = (*tokens[:end], tokens[end - 1], *tokens[end:])
    return model, Schedule(again, (*steps, 1, *[1] * decoding))


FAULTS = (
    Fault(
        "cache-misses-self",
        "position",
        "In decode the cache is read before the new key and value are in it.",
        "a decode step at p attends to the rows 0 … p - 1",
        "",
        "Write to the cache first, then attend to all of it.",
        misses_itself,
    ),
    Fault(
        "cache-stale",
        "position",
        "The cache was not emptied after an earlier run over the same tokens.",
        "the run is the second of two: positions T … 2T - 1, and the first run's rows are seen",
        "candle-vllm#6, transformers#33129",
        "Set the cache's length to 0 before a new prompt.",
        run_before,
    ),
    Fault(
        "cache-prompt-end-lost",
        "position",
        "The row of the prompt's last token is not in the cache when decoding begins.",
        "a decode step at p attends to the rows 0 … len(prompt) - 2 and len(prompt) … p",
        "",
        "Keep all rows of the prompt; decoding begins after its last row.",
        prompt_end_lost,
    ),
    Fault(
        "prompt-end-repeated",
        "position",
        "Decoding begins with the prompt's last token, which is in the cache already.",
        "the run is over the prompt, its last token again, and the answer; the last T rows",
        "",
        "Begin decoding with the token that the prompt's last row chose.",
        prompt_end_repeated,
    ),
)
