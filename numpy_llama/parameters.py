"""The weights of a model: every array, its name and its shape; and the two ways to use one.

The letters of the axes are explained in taps.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .backend import Array
from .config import LlamaConfig


@dataclass(frozen=True)
class LayerWeights:
    """One block. Matrices are (out, in), as in every checkpoint: see `linear`."""

    attn_norm: Array  # (D,)
    wq: Array  # (H·hd, D): H heads of queries, RoPE's pairs adjacent
    wk: Array  # (K·hd, D): K heads of keys, likewise
    wv: Array  # (K·hd, D): K heads of values
    wo: Array  # (D, H·hd)

    ffn_norm: Array  # (D,)
    w_gate: Array  # (F, D)
    w_up: Array  # (F, D)
    w_down: Array  # (D, F)

    # Biases, one for each row of its matrix. Llama itself has none; a few of its kin do.
    bq: Array | None = None  # (H·hd,)
    bk: Array | None = None  # (K·hd,)
    bv: Array | None = None  # (K·hd,)
    bo: Array | None = None  # (D,)
    b_gate: Array | None = None  # (F,)
    b_up: Array | None = None  # (F,)
    b_down: Array | None = None  # (D,)


@dataclass(frozen=True)
class Weights:
    """All of a model. `layers` is any sequence: a tuple, or a stream that reads one at a time."""

    tok_embeddings: Array  # (V, D)
    layers: Sequence[LayerWeights]  # N of them
    final_norm: Array  # (D,)
    lm_head: Array  # (V, D); tok_embeddings itself in a tied model


def lookup(ids: Array, table: Array) -> Array:
    """One row of the table for each id.  ids: (L,), of the host; table: (V, D); returns (L, D)."""
    return table[np.asarray(ids, like=table)]


def linear(x: Array, w: Array, b: Array | None = None) -> Array:
    """x wᵀ + b.  x: (L, in); w: (out, in); b: (out,) or None; returns (L, out)."""
    y = x @ w.T
    return y if b is None else y + b


def rotated_heads(name: str, config: LlamaConfig) -> int:
    """How many heads the rows of a weight make, by its name; 0 if it has none that are rotated."""
    heads = {"wq": config.n_heads, "bq": config.n_heads}
    heads |= {"wk": config.n_kv_heads, "bk": config.n_kv_heads}
    return heads.get(name.rpartition(".")[2], 0)


def summary(model: Any) -> str:
    """A Llama in three lines, where a dataclass would print every weight."""
    dtype = model.weights.tok_embeddings.dtype
    return f"{type(model).__name__} in {dtype}\n{model.config}"
