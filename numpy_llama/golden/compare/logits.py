"""Logits as what they are for: a distribution over the next token, and a choice."""

from collections.abc import Sequence

import numpy as np

from ..record.bundle import Bundle
from .verdict import Flip, GreedyVerdict, LogitsVerdict


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """The logarithm of softmax, row by row: s - max s - ln Σ e^(s - max s)."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def kl_divergence(golden: np.ndarray, got: np.ndarray) -> np.ndarray:
    """Σ p ln(p / q) of each row, in nats, with p of the golden's logits and q of the others.

    Two (rows, V) to (rows,). A constant added to a row of logits changes nothing.
    """
    p, q = log_softmax(golden), log_softmax(got)
    return np.maximum((np.exp(p) * (p - q)).sum(axis=-1), 0.0)  # rounding may go below zero


def top(logits: np.ndarray, k: int) -> np.ndarray:
    """The k most likely tokens of each row, in no order: (rows, k)."""
    return np.argpartition(logits, -k, axis=-1)[:, -k:]


def top_agreement(golden: np.ndarray, got: np.ndarray, k: int) -> float:
    """Which share of the k most likely tokens the two have in common, over all rows."""
    k = min(k, golden.shape[1])
    pairs = zip(top(golden, k), top(got, k), strict=True)
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in pairs]))


def flip(bundle: Bundle, row: int, expected: int, got: int, dtype: str) -> Flip:
    """A row whose most likely token is another. The gap is the golden's between the two."""
    logits = bundle.values["logits"][row]
    gap = float(logits[expected]) - float(logits[got])
    return Flip(row, expected, got, gap, bundle.noise(dtype))


def compare_logits(
    bundle: Bundle, got: np.ndarray, rows: Sequence[int], dtype: str
) -> LogitsVerdict | None:
    """Compare the distributions of `rows`; None if there is no distribution to compare."""
    if not np.isfinite(got).all():
        return None
    got = np.asarray(got, np.float64)
    golden = np.asarray(bundle.values["logits"][list(rows)], np.float64)
    kl = kl_divergence(golden, got)
    best, chosen = golden.argmax(-1), got.argmax(-1)
    flips = [
        flip(bundle, row, int(best[i]), int(chosen[i]), dtype)
        for i, row in enumerate(rows)
        if best[i] != chosen[i]
    ]
    return LogitsVerdict(
        rows=len(rows),
        kl_mean=float(kl.mean()),
        kl_max=float(kl.max()),
        top1=float(np.mean(best == chosen)),
        top5=top_agreement(golden, got, 5),
        flips=tuple(flips),
    )


def compare_greedy(bundle: Bundle, ids: Sequence[int], dtype: str) -> GreedyVerdict:
    """Compare greedy ids with the golden's, up to the first that differs.

    An id outside the vocabulary is as far from being chosen as can be.
    """
    known = min(len(ids), len(bundle.greedy))
    same = next((i for i in range(known) if ids[i] != bundle.greedy[i]), known)
    if same == known:
        return GreedyVerdict(same, len(bundle.greedy))
    row, expected, got = bundle.schedule.prompt - 1 + same, bundle.greedy[same], ids[same]
    if not 0 <= got < bundle.config.vocab_size:
        wrong = Flip(row, expected, got, float("inf"), bundle.noise(dtype))
    else:
        wrong = flip(bundle, row, expected, got, dtype)
    return GreedyVerdict(same, len(bundle.greedy), wrong)
