"""Mistakes in RoPE's table: what it is made of is rounded, or counted from 1."""

import numpy as np

from ....config import LlamaConfig
from ....model import Llama
from ....rope import (
    rotation_matrices,
)
from ....rope_scaling import frequencies
from ...replay.precision import round_to_bfloat16
from ..fault import Fault, as_array_of, stage
from .frequencies import frequencies_with


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


class FromOne(Llama):
    def rotations(self, start: int, L: int) -> np.ndarray:
        f, magnitude = frequencies(self.config, start + L)
        positions = np.arange(start + 1, start + L + 1)
        return rotation_matrices(f, positions, magnitude, like=self.weights.tok_embeddings)


FAULTS = (
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
