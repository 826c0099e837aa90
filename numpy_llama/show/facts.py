"""What a page shows of a run: taps as they are, and what follows from them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..norm import rms
from ..rope_scaling import frequencies
from ..taps import no_tap
from .run import Run, Shown

Arrays = dict[str, tuple[str, np.ndarray]]  # each with the type in which it is packed

LARGEST = 12  # features of SwiGLU that are listed
LIKELIEST = 10  # tokens that are listed
LENS = 5  # of them at each layer
GATES = np.linspace(-4, 4, 33)  # the borders of the histogram of gates


def largest(values: np.ndarray, count: int) -> np.ndarray:
    """The indices of the `count` largest of each row, the largest first."""
    count = min(count, values.shape[-1])
    some = np.argpartition(-values, count - 1, axis=-1)[..., :count]
    order = np.argsort(-np.take_along_axis(values, some, -1), axis=-1, kind="stable")
    return np.take_along_axis(some, order, -1)


def likeliest(logits: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row of logits: the likeliest tokens, their logits, their probabilities."""
    ids = largest(logits, count)
    top = np.take_along_axis(logits, ids, -1)
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return ids, top, np.exp(top - top[..., :1]) / shifted.sum(-1, keepdims=True)


def stream_facts(run: Run, shown: Shown) -> Arrays:
    """How large the stream is in every layer, and what each half of a block adds to it."""
    at = list(shown.positions)
    kinds = ("attn_norm.rms", "ffn_norm.rms", "attn_out", "ffn_out", "resid_post")
    grown: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
    for i in range(run.model.config.n_layers):
        for kind in kinds:
            x = run.rows(f"layers.{i}.{kind}")[at]
            grown[kind].append(x if x.ndim == 1 else rms(x, 0.0))
    facts = {kind: ("f4", np.stack(values)) for kind, values in grown.items()}
    post = np.stack([run.rows(f"layers.{i}.resid_post")[at] for i in shown.layers])
    features = largest(np.abs(post), 4)
    return {
        "embed": ("f2", run.rows("embed")[at]),
        "stream": ("i1", post),
        "stream.features": ("u4", features),
        "stream.largest": ("f4", np.take_along_axis(post, features, -1)),
        **{f"size.{kind}": fact for kind, fact in facts.items()},
    }


def attention_facts(run: Run, shown: Shown) -> Arrays:
    """Queries and keys before they turn; scores, probabilities; what is in the cache, as RMS."""
    at = np.array(shown.positions)

    def layers(kind: str) -> np.ndarray:
        return np.stack([run.rows(f"layers.{i}.{kind}")[at] for i in shown.layers])

    def squares(kind: str) -> np.ndarray:
        found = [run.square(f"layers.{i}.{kind}") for i in shown.layers]
        return np.stack([square[:, at][:, :, at] for square in found])

    q, k, k_rot, v = map(layers, ("q", "k", "k_rot", "v"))  # (n, T, heads, hd)
    return {
        "q": ("f2", q),
        "k": ("f2", k),
        "scores": ("f2", squares("scores")),
        "probs": ("f2", squares("probs")),
        "cache.k": ("f4", rms(k_rot, 0.0)),
        "cache.v": ("f4", rms(v, 0.0)),
    }


def feed_forward_facts(run: Run, shown: Shown) -> Arrays:
    """The features of SwiGLU that pass most, and how all gates are distributed."""
    found: dict[str, list[np.ndarray]] = {}
    for i in shown.layers:
        gate, up, out = (
            run.rows(f"layers.{i}.{kind}")[list(shown.positions)]
            for kind in ("gate", "up", "swiglu")
        )
        features = largest(np.abs(out), LARGEST)
        inside = np.clip(gate, GATES[0], np.nextafter(GATES[-1], 0))  # the ends take the rest
        counts = [np.histogram(row, GATES)[0] for row in inside]
        parts = {"features": features, "gates": np.stack(counts), "closed": (gate < 0).sum(-1)}
        for kind, values in (("gate", gate), ("up", up), ("product", out)):
            parts[kind] = np.take_along_axis(values, features, -1)
        for kind, part in parts.items():
            found.setdefault(kind, []).append(part)
    whole = ("features", "gates", "closed")
    return {
        f"ffn.{kind}": ("u4" if kind in whole else "f4", np.stack(parts))
        for kind, parts in found.items()
    }


def following(run: Run) -> list[int]:
    """The token after each that was read; after the last, the one that was chosen."""
    return [*run.ids, run.chosen[-1]][1:]


def batches(layers: Sequence[int], size: int = 8) -> Iterator[Sequence[int]]:
    """A few layers at a time: one large product is quicker than many, and needs more memory."""
    return (layers[i : i + size] for i in range(0, len(layers), size))


def lens_of(
    run: Run, layers: Sequence[int], at: list[int], comes: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """What the head says of each layer's stream: tokens, probabilities, the rank of `comes`."""
    streams = np.concatenate([run.rows(f"layers.{i}.resid_post")[at] for i in layers])
    for logits in np.split(run.model.head(streams, no_tap), len(layers)):
        found, _, p = likeliest(logits, LENS)
        yield found, p, (logits > np.take_along_axis(logits, comes[:, None], -1)).sum(-1)


def head_facts(run: Run, shown: Shown) -> Arrays:
    """The likeliest tokens after each; and what the head would say of every layer's stream."""
    at = list(shown.positions)
    ids, top, probabilities = likeliest(run.rows("logits")[at], LIKELIEST)
    comes = np.array(following(run))[at]
    lens = [part for some in batches(shown.layers) for part in lens_of(run, some, at, comes)]
    return {
        "logits.ids": ("u4", ids),
        "logits.top": ("f4", top),
        "logits.probability": ("f4", probabilities),
        "lens.ids": ("u4", np.stack([layer[0] for layer in lens])),
        "lens.probability": ("f4", np.stack([layer[1] for layer in lens])),
        "lens.rank": ("u4", np.stack([layer[2] for layer in lens])),
        "comes": ("u4", comes),
    }


def rope_facts(run: Run) -> dict[str, Any]:
    """Radians a position of each pair, and the factor on what is turned.

    One list for all steps: even `dynamic` scaling changes nothing within the model's context.
    """
    f, magnitude = frequencies(run.model.config, len(run.ids))
    return {"f": f.tolist(), "magnitude": magnitude}
