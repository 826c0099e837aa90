"""From logits to the next token. The order of the filters is stated here, and only here:

    repetition penalty → temperature → top-k → top-p → min-p → draw

as in transformers. (llama.cpp puts the temperature last: the same numbers give another
distribution.) Everything happens on the host in float64, where the cost is small.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .attention import softmax
from .errors import InputError, NumericError


@dataclass(frozen=True)
class Sampling:
    """How to pick a token. The defaults are greedy: the likeliest token, always."""

    temperature: float = 0.0  # 0: greedy; below 1 sharpens, above 1 flattens
    top_k: int = 0  # keep the k likeliest; 0: all
    top_p: float = 1.0  # keep the likeliest that together have this much probability; 1: all
    min_p: float = 0.0  # keep those at least this likely relative to the likeliest; 0: all
    repeat_penalty: float = 1.0  # divide the logits of tokens already seen; 1: leave them

    def __post_init__(self) -> None:
        bounds = {
            "temperature": (0.0, 1e6),
            "top_k": (0, 1 << 31),
            "top_p": (0.0, 1.0),
            "min_p": (0.0, 1.0),
            "repeat_penalty": (1e-3, 1e3),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise InputError(f"{name} must be in {low} … {high}, not {value}")


GREEDY = Sampling()


def penalise_repeats(logits: np.ndarray, seen: Sequence[int], penalty: float) -> np.ndarray:
    """Make every token of `seen` less likely: positive logits are divided, negative multiplied.

    logits: (V,). Both move the logit down, since penalty > 1. Keskar et al. 2019 (CTRL), eq. 7,
    with the division for negative logits corrected as other programs do.
    """
    ids = np.unique(np.asarray(seen, dtype=np.int64))
    logits = logits.copy()
    logits[ids] = np.where(logits[ids] > 0, logits[ids] / penalty, logits[ids] * penalty)
    return logits


def keep_top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """Rule out all but the k likeliest tokens (and ties with the last of them)."""
    if k >= len(logits):
        return logits
    threshold = np.partition(logits, -k)[-k]
    return np.where(logits >= threshold, logits, -math.inf)


def keep_top_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Rule out all but the smallest set of likeliest tokens that together reach probability p.

    The likeliest token always stays. Holtzman et al. 2019 (nucleus sampling), section 3.1.
    """
    order = np.argsort(-logits, kind="stable")
    probabilities = softmax(logits[order])
    before = np.cumsum(probabilities) - probabilities  # of the tokens likelier than this one
    before[0] = -1.0  # p = 0 keeps one token, not none
    kept = np.full_like(logits, -math.inf)
    kept[order[before < p]] = logits[order[before < p]]
    return kept


def keep_min_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Rule out tokens less than p times as likely as the likeliest. Nguyen et al. 2024, eq. 1."""
    return np.where(logits >= logits.max() + math.log(p), logits, -math.inf)


def next_token_probabilities(
    logits: np.ndarray, settings: Sampling, seen: Sequence[int] = ()
) -> np.ndarray:
    """The distribution that a token is drawn from: (V,) in float64, its sum 1.

    logits: (V,) on the host; `seen`: the tokens of the sequence so far. Temperature 0 puts all
    probability on the likeliest token (the first of equals). Raises NumericError for a logit that
    is not finite: argmax would quietly return the place of the first NaN.
    """
    logits = logits.astype(np.float64)
    if not np.isfinite(logits).all():
        raise NumericError("the logits are not finite: no token can be chosen")
    if settings.repeat_penalty != 1 and len(seen):
        logits = penalise_repeats(logits, seen, settings.repeat_penalty)
    if settings.temperature == 0:
        return np.eye(1, len(logits), int(logits.argmax()))[0]
    logits = (logits - logits.max()) / settings.temperature  # the shift: no overflow near 0
    if settings.top_k > 0:
        logits = keep_top_k(logits, settings.top_k)
    if settings.top_p < 1:
        logits = keep_top_p(logits, settings.top_p)
    if settings.min_p > 0:
        logits = keep_min_p(logits, settings.min_p)
    return softmax(logits)


def sample(
    logits: np.ndarray, settings: Sampling, rng: np.random.Generator, seen: Sequence[int] = ()
) -> int:
    """Draw the next token: one uniform number, looked up in the cumulative distribution.

    logits: (V,). One draw a token, also where there is no choice, so that a seed means the same
    text whatever is filtered out. Repeatable for a seed on one machine; another machine's
    rounding may, rarely, move a boundary.
    """
    cumulative = np.cumsum(next_token_probabilities(logits, settings, seen))
    draw = rng.random() * cumulative[-1]
    return int(np.searchsorted(cumulative, draw, side="right"))


def log_probabilities(logits: np.ndarray, following: Sequence[int]) -> np.ndarray:
    """The natural logarithm of the probability of each row's following token, in float64.

    log softmax(z)ᵢ = zᵢ - log Σⱼ exp(zⱼ).  logits: (L, V) on the host; following: (L,) ids.
    """
    z = logits.astype(np.float64)
    z -= z.max(axis=-1, keepdims=True)  # exp cannot overflow then
    chosen = z[np.arange(len(z)), following]
    return chosen - np.log(np.exp(z).sum(axis=-1))
