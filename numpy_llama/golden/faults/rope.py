"""Mistakes in rotary position embedding."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from ...config import MAX_NUMBER, LlamaConfig, RopeScaling
from ...kv_cache import LayerCache
from ...model import Llama
from ...parameters import LayerWeights
from ...rope import (
    adjacent,
    adjacent_rows,
    base_frequencies,
    half_split,
    half_split_rows,
    rotate,
    rotation_matrices,
)
from ...rope_scaling import frequencies
from ...taps import Tap
from ..replay.precision import rotations_in_float32, round_to_bfloat16
from ..replay.schedule import Schedule
from .fault import Change, Fault, as_array_of, config_with, layers_with, stage

Frequencies = Callable[[np.ndarray, LlamaConfig], np.ndarray]


def frequencies_with(change: Frequencies) -> Change:
    """The fault of a model that turns its pairs at `change(f, config)`, not at f."""

    class OtherFrequencies(Llama):
        def rotations(self, start: int, L: int) -> np.ndarray:
            f, magnitude = frequencies(self.config, start + L)
            like = self.weights.tok_embeddings
            return rotations_in_float32(change(f, self.config), start, L, magnitude, like)

    return stage(OtherFrequencies)


def width_assumed(config: LlamaConfig) -> bool:
    """Whether dim / n_heads is not head_dim, and gives a θ that a config can hold."""
    exponent = config.head_dim * config.n_heads / config.dim
    fits = exponent * math.log(config.rope_theta) < math.log(MAX_NUMBER)
    return config.head_dim > 2 and exponent != 1 and fits


def exponent_over(divisor: Callable[[LlamaConfig], float]) -> Change:
    """The fault of frequencies θ^(-2i/divisor), then scaled as this model's are.

    That is the base θ^(hd/divisor) with the right exponent, -2i/hd.
    """

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        config = model.config
        theta = config.rope_theta ** (config.head_dim / divisor(config))
        return config_with(rope_theta=theta)(model, schedule)

    return apply


def two_pi_misplaced(f: np.ndarray, config: LlamaConfig) -> np.ndarray:
    """Llama 3's blend over turns = context · f / 2 · π."""
    scaling = config.rope_scaling
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    f = base_frequencies(config.rope_theta, config.head_dim)
    turns = (scaling.original_context or config.max_context) * f / 2 * math.pi
    keep = np.clip((turns - low) / (high - low), 0, 1)
    return keep * f + (1 - keep) * f / scaling.factor


def bf16_frequencies(f: np.ndarray, config: LlamaConfig) -> np.ndarray:
    """The frequencies, rounded to bfloat16."""
    return round_to_bfloat16(f).astype(np.float64)


class Bf16Positions(Llama):
    def rotations(self, start: int, L: int) -> np.ndarray:
        f, magnitude = frequencies(self.config, start + L)
        positions = round_to_bfloat16(np.arange(start, start + L, dtype=np.float32))
        return rotation_matrices(f, positions, magnitude, self.weights.tok_embeddings)


class Bf16Table(Llama):
    def rotations(self, start: int, L: int) -> np.ndarray:
        R = super().rotations(start, L)
        return as_array_of(round_to_bfloat16(np.asarray(R)), R)


class Backwards(Llama):
    def rotations(self, start: int, L: int) -> np.ndarray:
        return super().rotations(start, L).swapaxes(-1, -2)


class HalfSplitTable(Llama):
    def rotations(self, start: int, L: int) -> np.ndarray:
        R = super().rotations(start, L)
        h = R.shape[1]
        wrong, pair = R.copy(), np.arange(h)
        wrong[:, :, 0] = R[:, 2 * pair % h, 0]
        wrong[:, :, 1] = R[:, (2 * pair + 1) % h, 1]
        return wrong


class FromOne(Llama):
    def rotations(self, start: int, L: int) -> np.ndarray:
        f, magnitude = frequencies(self.config, start + L)
        positions = np.arange(start + 1, start + L + 1)
        return rotation_matrices(f, positions, magnitude, like=self.weights.tok_embeddings)


def rotating(
    turn_q: Callable[[np.ndarray, np.ndarray], np.ndarray],
    turn_k: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Change:
    """The fault of a model that rotates queries and keys by these functions of (x, R)."""

    class Rotating(Llama):
        def turn(
            self, q: np.ndarray, k: np.ndarray, R: np.ndarray, tap: Tap
        ) -> tuple[np.ndarray, np.ndarray]:
            q, k = turn_q(q, R), turn_k(k, R)
            tap("q_rot", q)
            tap("k_rot", k)
            return q, k

    return stage(Rotating)


def leave(x: np.ndarray, R: np.ndarray) -> np.ndarray:
    """No rotation."""
    return x


def rotate_half_split(x: np.ndarray, R: np.ndarray) -> np.ndarray:
    """Pairs (i, i + hd/2), of weights whose pairs are adjacent."""
    return half_split(rotate(adjacent(x), R))


def rotate_adjacent(x: np.ndarray, R: np.ndarray) -> np.ndarray:
    """Adjacent pairs, of weights that pair (i, i + hd/2). What it shows is in our layout."""
    return adjacent(rotate(half_split(x), R))


class RotatedValues(LayerCache):
    """A layer's cache that rotates the values which are written to it."""

    def __init__(self, seen: LayerCache, R: np.ndarray):
        vars(self).update(vars(seen))
        self.seen, self.R = seen, R

    def write(self, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.seen.write(k, rotate(v, self.R))


class AlsoValues(Llama):
    def multi_head(
        self, x: np.ndarray, layer: LayerWeights, R: np.ndarray, seen: LayerCache, tap: Tap
    ) -> np.ndarray:
        return super().multi_head(x, layer, R, RotatedValues(seen, R), tap)


def permuted_with_query_heads(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    """Keys brought from Hugging Face's layout to ours as if they had as many heads as queries."""

    def wrongly(w: np.ndarray) -> np.ndarray:
        as_stored = half_split_rows(w, config.n_kv_heads)
        return adjacent_rows(as_stored, config.n_heads)

    bk = None if layer.bk is None else wrongly(layer.bk)
    return dataclasses.replace(layer, wk=wrongly(layer.wk), bk=bk)


def other_theta(theta: float) -> Callable[[LlamaConfig], bool]:
    """Whether the model has another θ."""
    return lambda config: config.rope_theta != theta


def scaled(*types: str) -> Callable[[LlamaConfig], bool]:
    """Whether the model's context was extended in one of these ways."""
    return lambda config: config.rope_scaling.type in types


def linearly_scaled(f: np.ndarray, config: LlamaConfig) -> np.ndarray:
    """Every pair slowed by the factor."""
    return base_frequencies(config.rope_theta, config.head_dim) / config.rope_scaling.factor


def with_ramp_reversed(f: np.ndarray, config: LlamaConfig) -> np.ndarray:
    """The other part of f + f/factor: what YaRN's ramp keeps is slowed, and the reverse."""
    plain = base_frequencies(config.rope_theta, config.head_dim)
    return plain + plain / config.rope_scaling.factor - f


def from_the_whole_context(f: np.ndarray, config: LlamaConfig) -> np.ndarray:
    """Frequencies scaled as if the model had been trained on all of its positions."""
    scaling = dataclasses.replace(config.rope_scaling, original_context=None)
    return frequencies(dataclasses.replace(config, rope_scaling=scaling), length=0)[0]


def extended_from(*types: str) -> Callable[[LlamaConfig], bool]:
    """Whether the model was extended in one of these ways, from a context that is told."""

    def applies(config: LlamaConfig) -> bool:
        original = config.rope_scaling.original_context
        return scaled(*types)(config) and original not in (None, config.max_context)

    return applies


THETA_MEND = "Read rope_theta from the model's config; Llama 1 and 2 have 1e4, Llama 3 has 5e5."
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
    Fault(
        "rope-theta-1e4",
        "rope",
        "RoPE's base θ is 10000, which is not this model's.",
        "fᵢ = 10000^(-2i/hd)",
        "airllm#368, gpt-fast#181, penzai#102, llama2.c#356, torchtune#1341",
        THETA_MEND,
        config_with(rope_theta=1e4),
        other_theta(1e4),
    ),
    Fault(
        "rope-theta-5e5",
        "rope",
        "RoPE's base θ is 500000, which is not this model's.",
        "fᵢ = 500000^(-2i/hd)",
        "penzai#102",
        THETA_MEND,
        config_with(rope_theta=5e5),
        other_theta(5e5),
    ),
    Fault(
        "rope-theta-1e6",
        "rope",
        "RoPE's base θ is 1000000, which is not this model's.",
        "fᵢ = 1000000^(-2i/hd)",
        "torchtune#1341",
        THETA_MEND,
        config_with(rope_theta=1e6),
        other_theta(1e6),
    ),
    Fault(
        "rope-exponent",
        "rope",
        "RoPE's exponent counts pairs where it should count features: i for 2i.",
        "fᵢ = θ^(-i/hd), i = 0 … hd/2 - 1, before scaling",
        "",
        "The exponent of pair i is -2i/hd.",
        exponent_over(lambda config: 2 * config.head_dim),
        lambda config: config.head_dim > 2,
    ),
    Fault(
        "rope-dim",
        "rope",
        "RoPE's exponent divides by the model's width, not by the head's.",
        "fᵢ = θ^(-2i/D), before scaling",
        "candle#2358, lmdeploy#2761",
        "The exponent of pair i is -2i/hd, with hd the width of one head.",
        exponent_over(lambda config: config.dim),
        lambda config: config.dim > config.head_dim > 2,
    ),
    Fault(
        "rope-head-dim-assumed",
        "rope",
        "RoPE takes the width of a head to be dim / n_heads, which it is not in this model.",
        "fᵢ = θ^(-2i/(D/H)), before scaling",
        "llama.cpp#9141, candle#2358, executorch#8846",
        "Read head_dim from the config, where it is given.",
        exponent_over(lambda config: config.dim / config.n_heads),
        width_assumed,
    ),
    Fault(
        "rope-scaling-missing",
        "rope",
        "The extension of the context (rope_scaling) is not applied.",
        "fᵢ = θ^(-2i/hd), and no attention factor",
        "tiny-vllm#1, mlxcel#1355 (the file says rope_type, not type), llama.cpp#8676",
        "Apply rope_scaling of the config; its kind is under rope_type, in old files under type.",
        config_with(rope_scaling=RopeScaling()),
        scaled("linear", "dynamic", "llama3", "yarn"),
    ),
    Fault(
        "rope-scaling-linear",
        "rope",
        "All pairs are slowed by the factor, but this model slows only some of them.",
        "fᵢ = θ^(-2i/hd) / factor",
        "llama.cpp#8676",
        "Leave fast pairs as they are: see the bands of this model's rope_type.",
        frequencies_with(linearly_scaled),
        scaled("llama3", "yarn"),
    ),
    Fault(
        "rope-scaling-2pi",
        "rope",
        "In Llama 3's scaling, 2π divides where it should: written / 2 * π, it multiplies by π.",
        "turns = context · f / 2 · π instead of context · f / (2π)",
        "lmdeploy#2155: passed evaluations, failed to find a needle in a haystack",
        "Put 2π in parentheses: the wavelength is 2π / f.",
        frequencies_with(two_pi_misplaced),
        scaled("llama3"),
    ),
    Fault(
        "rope-original-context-missing",
        "rope",
        "RoPE's scaling takes the extended context for the one that the model was trained on.",
        "context = max_position_embeddings, instead of original_max_position_embeddings",
        "transformers 4.48 (YaRN)",
        "Read original_max_position_embeddings of rope_scaling, where it is given.",
        frequencies_with(from_the_whole_context),
        extended_from("llama3", "yarn"),
    ),
    Fault(
        "rope-yarn-ramp-reversed",
        "rope",
        "YaRN's ramp runs the wrong way: fast pairs are slowed, and slow ones kept.",
        "fᵢ ← r f + (1 - r) f/factor, r from 0 at the fast pairs to 1 at the slow ones",
        "litgpt 0.5.13",
        "The ramp is the share of what is slowed: fᵢ ← (1 - r) f + r f/factor.",
        frequencies_with(with_ramp_reversed),
        scaled("yarn"),
    ),
    Fault(
        "rope-missing",
        "rope",
        "RoPE is not applied.",
        "q_rot = q, k_rot = k",
        "",
        "Rotate queries and keys after their projections.",
        rotating(leave, leave),
    ),
    Fault(
        "rope-q-only",
        "rope",
        "RoPE is applied to the queries and not to the keys.",
        "k_rot = k",
        "",
        "Rotate the keys too, before they go to the cache.",
        rotating(rotate, leave),
    ),
    Fault(
        "rope-k-only",
        "rope",
        "RoPE is applied to the keys and not to the queries.",
        "q_rot = q",
        "",
        "Rotate the queries too.",
        rotating(leave, rotate),
    ),
    Fault(
        "rope-on-v",
        "rope",
        "RoPE is applied to the values as well.",
        "v is rotated as k is, after the tap v",
        "",
        "Rotate queries and keys only; values carry no position.",
        stage(AlsoValues),
    ),
    Fault(
        "rope-inv-freq-bf16",
        "rope",
        "RoPE's frequencies are rounded to bfloat16: an angle's error grows with its position.",
        "fᵢ = bf16(θ^(-2i/hd)), after scaling; angles and tables are exact",
        "Modalities#462, gpt-neox#1003, transformers#25681, sglang-jax#1472",
        "Keep the frequencies in float32 when the model is cast to bfloat16.",
        frequencies_with(bf16_frequencies),
    ),
    Fault(
        "rope-positions-bf16",
        "rope",
        "The positions are rounded to bfloat16: beyond 256 several share one.",
        "angles are bf16(p)·fᵢ",
        "transformers#29285",
        "Keep positions as whole numbers or in float32.",
        stage(Bf16Positions),
    ),
    Fault(
        "rope-table-bf16",
        "rope",
        "The tables of sines and cosines are rounded to bfloat16.",
        "R = bf16(cos p·fᵢ), bf16(sin p·fᵢ)",
        "transformers#29285, modded-nanogpt#39",
        "Keep the tables, and the rotation, in float32.",
        stage(Bf16Table),
    ),
    Fault(
        "rope-from-1",
        "rope",
        "Positions are counted from 1: every angle is off by one position, and no score is.",
        "pairs are turned by (p + 1)·fᵢ, in prefill and decode",
        "",
        "Nothing to fix, unless others read these queries and keys.",
        stage(FromOne),
        harmless=True,
    ),
)
