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
import mmap
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..config import LlamaConfig, RopeScaling
from ..errors import CheckpointError, ConfigError
from ..rope import base_frequencies
from .checkpoint import Checkpoint, StoredTensor, check_tensors, expected_shapes, layer_shapes
from .storage.files import check_whole, map_file, open_regular, writing

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


def loader(
    path: Path, mapped: mmap.mmap, offset: int, shape: tuple[int, ...], group: int | None
) -> Callable[[], np.ndarray]:
    """What reads one tensor: float32 as it lies in the file, or int8 groups times their scales.

    An int8 has at most 7 bits, a float32 24: the product is rounded once, as runq.c rounds it.
    """
    count = math.prod(shape)

    def load() -> np.ndarray:
        check_whole(path, mapped)
        if group is None:
            return np.ndarray(shape, F32, mapped, offset)
        q = np.ndarray((count // group, group), np.int8, mapped, offset)
        scales = np.ndarray((count // group, 1), F32, mapped, offset + count)
        with np.errstate(all="ignore"):  # a huge or infinite scale shows in the logits, by name
            values: np.ndarray = np.multiply(q, scales, dtype=np.float32)
            return values.reshape(shape)

    return load


def stored_tensors(path: Path, header: Header, mapped: mmap.mmap) -> dict[str, StoredTensor]:
    """Every tensor of a file whose size has been checked."""
    shapes = dict(expected_shapes(header.config))
    tensors: dict[str, StoredTensor] = {}
    offset = header.start
    for name, skipped in names_in_order(header):
        shape = shapes[name]
        offset += skipped
        quantised = header.version == 2 and len(shape) == 2
        load = loader(path, mapped, offset, shape, header.group if quantised else None)
        nbytes = bytes_of(header, shape)
        kind = f"Q8 in groups of {header.group}" if quantised else "F32"
        tensors[name] = StoredTensor(shape, kind, nbytes, load)
        offset += nbytes
    return tensors


def read_header(path: Path) -> Header:
    """The header of a file that has exactly the size that it calls for."""
    with open_regular(path) as file:
        start = file.read(HEADER)
        size = file.seek(0, 2)
    try:
        header = parse_header(start)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except struct.error:
        raise CheckpointError(
            f"{path}: has {size} bytes, which is no header of llama2.c; copy or download it again"
        ) from None
    if size != expected_size(header):
        raise CheckpointError(
            f"{path}: has {size} bytes, and a llama2.c file of this header has "
            f"{expected_size(header)}: it is cut short, damaged or of another format"
        )
    return header


def recognises(path: Path) -> bool:
    """Whether a file has version 1's magic, or seven integers that call for exactly its size."""
    try:
        with open_regular(path) as file:
            if file.read(4) == struct.pack("<I", MAGIC):
                return True
        read_header(path)
    except (CheckpointError, ConfigError, OSError):
        return False
    return True


def read(path: Path) -> Checkpoint:
    """Open a file of any version; nothing but the header is read. ε and θ are llama2.c's own."""
    header = read_header(path)
    tensors = stored_tensors(path, header, map_file(path))
    check_tensors(path, header.config, tensors)
    return Checkpoint(
        path, f"llama2.c version {header.version}", header.config, tensors, "adjacent"
    )


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
