"""Mistakes in the pairs that RoPE turns, and in the way round."""

import dataclasses

import numpy as np

from ....config import LlamaConfig
from ....model import Llama
from ....parameters import LayerWeights
from ....rope import (
    adjacent,
    adjacent_rows,
    half_split,
    half_split_rows,
    rotate,
)
from ..fault import Fault, layers_with, stage
from .turn import rotating


def rotate_half_split(x: np.ndarray, R: np.ndarray) -> np.ndarray:
    """Pairs (i, i + hd/2), of weights whose pairs are adjacent."""
    return half_split(rotate(adjacent(x), R))


def rotate_adjacent(x: np.ndarray, R: np.ndarray) -> np.ndarray:
    """Adjacent pairs, of weights that pair (i, i + hd/2). What it shows is in our layout."""
    return adjacent(rotate(half_split(x), R))


class HalfSplitTable(Llama):
    def rotations(self, start: int, L: int) -> np.ndarray:
        R = super().rotations(start, L)
        h = R.shape[1]
        wrong, pair = R.copy(), np.arange(h)
        wrong[:, :, 0] = R[:, 2 * pair % h, 0]
        wrong[:, :, 1] = R[:, (2 * pair + 1) % h, 1]
        return wrong


def permuted_with_query_heads(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    """Keys brought from Hugging Face's layout to ours as if they had as many heads as queries."""

    def wrongly(w: np.ndarray) -> np.ndarray:
        as_stored = half_split_rows(w, config.n_kv_heads)
        return adjacent_rows(as_stored, config.n_heads)

    bk = None if layer.bk is None else wrongly(layer.bk)
    return dataclasses.replace(layer, wk=wrongly(layer.wk), bk=bk)


class Backwards(Llama):
    def rotations(self, start: int, L: int) -> np.ndarray:
        return super().rotations(start, L).swapaxes(-1, -2)


LAYOUT_MEND = (
    "Hugging Face weights pair (i, i + hd/2); Meta, llama2.c and GGUF weights pair (2i, 2i + 1). "
    "Rotate as the weights are, or permute the rows of wq and wk when they are loaded."
)


FAULTS = (
    Fault(
        "rope-half-split",
        "rope",
        "RoPE turns the pairs (i, i + hd/2), but the weights keep their pairs adjacent.",
        "with pairs adjacent in the weights: (xᵢ, xᵢ₊ₕ) is turned by p·fᵢ, h = hd/2",
        "llama2.c commit 155475a, llama2.rs#21, shainet#111, transformers#25199",
        LAYOUT_MEND,
        rotating(rotate_half_split, rotate_half_split),
        lambda config: config.head_dim > 2,
    ),
    Fault(
        "rope-adjacent",
        "rope",
        "RoPE turns adjacent pairs, but the weights are Hugging Face's, which pair (i, i + hd/2).",
        "with wq, wk in Hugging Face's order: (x₂ᵢ, x₂ᵢ₊₁) is turned by p·fᵢ",
        "shainet#111, LLMs-from-scratch#747, llama.cpp#13260: a model of the wrong rope type",
        LAYOUT_MEND,
        rotating(rotate_adjacent, rotate_adjacent),
        lambda config: config.head_dim > 2,
    ),
    Fault(
        "rope-table-half-split",
        "rope",
        "Adjacent pairs are turned with a table that is laid out for the pairs (i, i + hd/2).",
        "feature j of a head is turned by the angle of pair j mod hd/2, where it should be j // 2",
        "",
        "Repeat each angle of the table twice in a row for adjacent pairs: f₀ f₀ f₁ f₁, and so on.",
        stage(HalfSplitTable),
        lambda config: config.head_dim > 2,
    ),
    Fault(
        "rope-permute-k-with-q-heads",
        "rope",
        "wk was permuted from Hugging Face's layout with the number of query heads.",
        "wk to adjacent pairs by reshape(H, 2, -1, D) instead of reshape(K, 2, -1, D)",
        "llama.cpp#3364, llama.cpp#2376, transformers#31788, flash-attention#546",
        "Permute wk with n_kv_heads; only wq has n_heads.",
        layers_with(permuted_with_query_heads),
        lambda config: config.group_size > 1 and config.head_dim % (2 * config.group_size) == 0,
    ),
    Fault(
        "rope-backwards",
        "rope",
        "RoPE turns the other way: the sign of the sine is wrong.",
        "pairs are turned by -p·fᵢ",
        "",
        "(a, b) becomes (a cos φ - b sin φ, a sin φ + b cos φ).",
        stage(Backwards),
    ),
)
