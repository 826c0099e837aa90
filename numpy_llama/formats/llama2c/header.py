"""llama2.c's .bin: seven integers, then the weights, each kind of all layers in a row.

    version 0   7 × int32, then float32; a negative vocab_size says that the head is not tied.
                Two tables of RoPE lie in front of the head; they follow from the config.
    version 1   "ak42", version, 7 × int32, a byte (tied), zeros up to byte 256; norms come first
    version 2   as version 1, the size of a group after the byte; matrices are int8 in groups,
                followed by one float32 scale a group: w = q · scale

Two values that a model needs are not in any of them: llama2.c computes with ε = 1e-5 and
θ = 10000, whatever the model was trained with. Source: llama2.c, export.py, run.c and runq.c.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...config import LlamaConfig
from ...errors import ConfigError
from ..checkpoint import layer_shapes

NORM_EPS, ROPE_THETA = 1e-5, 10000.0  # the format's silent constants
MAGIC = 0x616B3432  # "ak42", as a little-endian number
HEADER = 256  # bytes, in versions 1 and 2
F32 = np.dtype("<f4")

MATRICES = ("wq", "wk", "wv", "wo", "w_gate", "w_down", "w_up")
ORDER_V0 = ("attn_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w_gate", "w_down", "w_up")


@dataclass(frozen=True)
class Header:
    """What the start of a file says, and where the weights begin."""

    version: int
    start: int
    config: LlamaConfig
    group: int  # elements that share a scale, in version 2

    @property
    def table(self) -> int:
        """Elements of each RoPE table of version 0: one for each position and pair."""
        return self.config.max_context * self.config.head_dim // 2


def make_config(numbers: Sequence[int], tied: bool) -> LlamaConfig:
    """The config of the seven integers. Raises ConfigError for those that no model has."""
    dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, max_context = numbers
    if n_heads <= 0 or dim % n_heads:
        raise ConfigError(f"dim {dim} is not a multiple of n_heads {n_heads}")
    return LlamaConfig(
        dim=dim,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=dim // n_heads,
        hidden_dim=hidden_dim,
        vocab_size=vocab_size,
        max_context=max_context,
        norm_eps=NORM_EPS,
        rope_theta=ROPE_THETA,
        tied_head=tied,
    )


def parse_header(start: bytes) -> Header:
    """The header. Raises ConfigError for numbers that no model has, struct.error if cut short."""
    (magic,) = struct.unpack_from("<I", start)
    if magic != MAGIC:
        *sizes, vocab_size, max_context = struct.unpack_from("<7i", start)
        return Header(
            0, 28, make_config([*sizes, abs(vocab_size), max_context], vocab_size > 0), group=1
        )
    version, *numbers = struct.unpack_from("<8i", start, 4)
    tied, group = struct.unpack_from("<Bi", start, 36)
    if version not in (1, 2):
        raise ConfigError(f"version {version} is not known; known are 0, 1 and 2")
    if tied > 1:
        raise ConfigError(f"the byte that says whether the head is tied is {tied}, not 0 or 1")
    config = make_config(numbers, bool(tied))
    smallest = [math.prod(layer_shapes(config)[name]) for name in MATRICES]
    if version == 2 and (group < 1 or any(n % group for n in [config.dim, *smallest])):
        raise ConfigError(f"matrices cannot be divided into groups of {group} elements")
    return Header(version, HEADER, config, group if version == 2 else 1)


def names_in_order(header: Header) -> Iterator[tuple[str, int]]:
    """Every tensor in the order of the file, by our names, with the bytes to skip before it."""
    config = header.config
    layers = range(config.n_layers)
    if header.version == 0:
        yield "tok_embeddings", 0
        yield from ((f"layers.{i}.{kind}", 0) for kind in ORDER_V0 for i in layers)
        yield "final_norm", 0
    else:
        yield from ((f"layers.{i}.{kind}", 0) for kind in ("attn_norm", "ffn_norm") for i in layers)
        yield "final_norm", 0
        yield "tok_embeddings", 0
        yield from ((f"layers.{i}.{kind}", 0) for kind in MATRICES for i in layers)
    if not config.tied_head:
        yield "lm_head", 2 * header.table * F32.itemsize if header.version == 0 else 0


def bytes_of(header: Header, shape: tuple[int, ...]) -> int:
    """How many bytes a tensor takes: norms are float32 in every version."""
    count = math.prod(shape)
    if header.version == 2 and len(shape) == 2:
        return count + count // header.group * F32.itemsize
    return count * F32.itemsize


def expected_size(header: Header) -> int:
    """The exact size of the file. In Python's integers: a product cannot wrap around."""
    config = header.config
    block = layer_shapes(config).values()
    size = header.start + config.n_layers * sum(bytes_of(header, shape) for shape in block)
    size += bytes_of(header, (config.dim,))
    size += bytes_of(header, (config.vocab_size, config.dim)) * (1 if config.tied_head else 2)
    return size + (2 * header.table * F32.itemsize if header.version == 0 else 0)
