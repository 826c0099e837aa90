"""A model as llama2c's .bin, version 0, which its run reads."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...config import LlamaConfig, RopeScaling
from ...errors import CheckpointError, ConfigError
from ...rope import base_frequencies
from ..checkpoint import expected_shapes
from ..storage.files import writing
from .header import F32, NORM_EPS, ROPE_THETA, Header, names_in_order


def check_writable(config: LlamaConfig) -> None:
    """Raise ConfigError for a config that version 0 cannot hold: it would be read as another."""
    if config.attention_bias or config.mlp_bias:
        raise ConfigError("llama2.c's format has no place for biases")
    if config.head_dim * config.n_heads != config.dim:
        raise ConfigError(
            f"llama2.c's format needs head_dim = dim / n_heads, not {config.head_dim} "
            f"with dim {config.dim} and n_heads {config.n_heads}"
        )
    if (scaling := config.rope_scaling) != RopeScaling():
        raise ConfigError(f"llama2.c's format has no place for rope_scaling {scaling.type!r}")
    fixed = {"norm_eps": NORM_EPS, "rope_theta": ROPE_THETA}
    for name, value in fixed.items():
        if getattr(config, name) != value:
            raise ConfigError(f"llama2.c always uses {name} {value}, not {getattr(config, name)}")


def write_array(file: BinaryIO, array: np.ndarray) -> None:
    """Write an array as little-endian float32, in C order."""
    file.write(np.ascontiguousarray(array, F32).tobytes())


def write_v0(path: Path, config: LlamaConfig, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a version 0 file that llama2.c's run reads, whole or not at all.

    tensors: by our names, RoPE's pairs adjacent; other floats than float32 are rounded to it.
    Raises ConfigError for a config that the format cannot hold.
    """
    check_writable(config)
    for name, shape in expected_shapes(config):
        if name not in tensors or tensors[name].shape != shape:
            raise CheckpointError(f"{path}: needs the tensor {name} in the shape {shape}")
    sizes = [config.dim, config.hidden_dim, config.n_layers, config.n_heads, config.n_kv_heads]
    vocab_size = config.vocab_size if config.tied_head else -config.vocab_size
    header = Header(0, 28, config, group=1)
    f = base_frequencies(config.rope_theta, config.head_dim)
    angles = np.arange(config.max_context)[:, None] * f  # run.c skips the tables, but they count
    with writing(path) as file:
        file.write(struct.pack("<7i", *sizes, vocab_size, config.max_context))
        for name, _ in names_in_order(header):
            if name != "lm_head":
                write_array(file, tensors[name])
        write_array(file, np.cos(angles))
        write_array(file, np.sin(angles))
        if not config.tied_head:
            write_array(file, tensors["lm_head"])
