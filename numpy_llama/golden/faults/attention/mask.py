"""Mistakes in the mask: which keys a query sees."""

import numpy as np

from ....attention import causal_mask
from ....model import Llama
from ...replay.schedule import Schedule
from ..fault import Fault
from .parts import Mask, attention_with


def keys_up_to(ahead: int) -> Mask:
    """Query i sees the keys up to i + ahead."""

    def mask(L: int, S: int, like: np.ndarray) -> np.ndarray:
        return np.arange(S)[None, :] <= np.arange(S - L, S)[:, None] + ahead

    return mask


def everything(L: int, S: int, like: np.ndarray) -> np.ndarray:
    """No mask."""
    return np.ones((L, S), bool)


def upper_left(L: int, S: int, like: np.ndarray) -> np.ndarray:
    """A triangle that begins at the first key, in steps of more than one token."""
    return np.tri(L, S, dtype=bool) if L > 1 else everything(L, S, like)


def upper_left_always(L: int, S: int, like: np.ndarray) -> np.ndarray:
    """A triangle that begins at the first key, in decode steps too."""
    return np.tri(L, S, dtype=bool)


def none_with_cache(L: int, S: int, like: np.ndarray) -> np.ndarray:
    """No mask as soon as the cache holds something."""
    return everything(L, S, like) if S > L else causal_mask(L, S, like)


def window(size: int) -> Mask:
    """Query i sees the last `size` keys only, itself included."""

    def mask(L: int, S: int, like: np.ndarray) -> np.ndarray:
        distance = np.arange(S - L, S)[:, None] - np.arange(S)[None, :]
        return (distance >= 0) & (distance < size)

    return mask


def half_window(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
    """Each row sees half as many keys as the run has rows."""
    return attention_with(mask=window(max(len(schedule.tokens) // 2, 1)))(model, schedule)


MASK_MEND = "Query i of a step stands at position S - L + i, and sees the keys 0 … S - L + i."

CACHED_MASK_MEND = MASK_MEND + " Align the mask with the last key, not with the first."


FAULTS = (
    Fault(
        "mask-missing",
        "attention",
        "There is no causal mask: every row of a step sees the whole step.",
        "all S keys are visible to all L queries of a step",
        "",
        MASK_MEND,
        attention_with(mask=everything),
    ),
    Fault(
        "mask-one-ahead",
        "attention",
        "The causal mask is off by one: each row sees the next.",
        "key j is visible to query i if j ≤ i + 1",
        "flashinfer#348",
        MASK_MEND,
        attention_with(mask=keys_up_to(1)),
    ),
    Fault(
        "mask-not-self",
        "attention",
        "The causal mask is off by one: no row sees itself.",
        "query i sees keys j < i; hidden scores are -1e9, so that row 0 averages its whole step",
        "flashinfer#348",
        MASK_MEND,
        attention_with(mask=keys_up_to(-1), hidden=-1e9),
    ),
    Fault(
        "mask-upper-left",
        "attention",
        "A chunk after the first sees only the beginning of the cache: the mask is aligned there.",
        "in a step of L > 1 tokens, query i of the step sees keys j ≤ i; decode is right",
        "hyprstream#1521, executorch#21749, tinygrad#15949, onnx#8054",
        CACHED_MASK_MEND,
        attention_with(mask=upper_left),
    ),
    Fault(
        "mask-upper-left-decode",
        "attention",
        "The mask is aligned with the first key, so that a decode step sees that one alone.",
        "in every step, key j is visible to query i of the step if j ≤ i",
        "tinygrad#15949, onnx#8054",
        CACHED_MASK_MEND,
        attention_with(mask=upper_left_always),
    ),
    Fault(
        "mask-skipped-with-cache",
        "attention",
        "There is no mask as soon as the cache holds something: later chunks see their own future.",
        "in a step with S > L, all S keys are visible to all L queries",
        "TinyLLM#18",
        MASK_MEND,
        attention_with(mask=none_with_cache),
    ),
    Fault(
        "window-4096",
        "attention",
        "Attention looks at the last 4096 positions only.",
        "key j is visible to query i if i - 4096 < j ≤ i",
        "",
        "Llama has no sliding window: let each row see all rows before it.",
        attention_with(mask=window(4096)),
    ),
    Fault(
        "window",
        "attention",
        "Attention looks at the last positions only, fewer than the run has.",
        "key j is visible to query i if i - w < j ≤ i; tried with w = T // 2",
        "transformers#39408, transformers#29623, mlx-lm#390",
        "Llama has no sliding window: let each row see all rows before it.",
        half_window,
    ),
)
