"""Write a Llama in float32 as GGUF, the one-file format of llama.cpp, without the gguf package.

Only what GGUF can hold is written: anything else would be read as another model. The layout is in
gguf_header.py. ggml, docs/gguf.md.
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...config import LlamaConfig, RopeScaling
from ...errors import CheckpointError, ConfigError
from ...rope import base_frequencies
from ...rope_scaling import llama3_frequencies
from ..checkpoint import expected_shapes
from ..storage.files import writing
from .config import PREFIX
from .fields import ARRAY, BOOL, STRING, U32
from .read import DIVISORS, LAYER_NAMES, NAMES

VERSION, ALIGNMENT = 3, 32
I32, FLOAT32 = 5, 6
F32_TENSOR = 0  # the code of float32 among the types of tensors
UNKNOWN, CONTROL, NORMAL = 2, 3, 1  # kinds of tokens, as sentencepiece counts them


# — fields —


def string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(x: bool | int | float | str | Sequence[Any]) -> bytes:
    """One value of metadata with its type: whole numbers as u32 (in a list i32), reals as f32."""
    if isinstance(x, bool):
        return struct.pack("<IB", BOOL, x)
    if isinstance(x, int):
        return struct.pack("<II", U32, x)
    if isinstance(x, float):
        return struct.pack("<If", FLOAT32, x)
    if isinstance(x, str):
        return struct.pack("<I", STRING) + string(x)
    kind, item = {str: (STRING, string), int: (I32, struct.Struct("<i").pack)}.get(
        type(x[0]), (FLOAT32, struct.Struct("<f").pack)
    )
    return struct.pack("<IIQ", ARRAY, kind, len(x)) + b"".join(map(item, x))


def padded(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % ALIGNMENT)


# — what a config is in GGUF —


def divisors(config: LlamaConfig) -> np.ndarray | None:
    """What Llama 3's scaling divides the frequencies by, (hd/2,); None for other models."""
    scaling = config.rope_scaling
    if scaling.type != "llama3":
        return None
    f = base_frequencies(config.rope_theta, config.head_dim)
    context = scaling.original_context or config.max_context
    return (f / llama3_frequencies(f, scaling, context)).astype(np.float32)


def rope_metadata(config: LlamaConfig) -> dict[str, Any]:
    """The keys of the context extension. Raises ConfigError for one that GGUF cannot hold."""
    scaling = config.rope_scaling
    context = scaling.original_context or config.max_context
    match scaling.type:
        case "default":
            return {}
        case "linear":
            return {"rope.scaling.type": "linear", "rope.scaling.factor": float(scaling.factor)}
        case "llama3" if (scaling.low_freq_factor, scaling.high_freq_factor) == (1.0, 4.0):
            return {"rope.scaling.original_context_length": context}  # the rest is in a tensor
        case "yarn" if scaling == RopeScaling("yarn", scaling.factor, scaling.original_context):
            return {
                "rope.scaling.type": "yarn",
                "rope.scaling.factor": float(scaling.factor),
                "rope.scaling.original_context_length": context,
            }
        case "dynamic":
            raise ConfigError("GGUF has no place for the rope type 'dynamic'")
        case other:
            raise ConfigError(f"GGUF holds the rope type {other!r} with its usual numbers only")


def metadata(config: LlamaConfig) -> dict[str, Any]:
    """Every key about the model, in the order of the file."""
    about = {
        "vocab_size": config.vocab_size,
        "context_length": config.max_context,
        "embedding_length": config.dim,
        "block_count": config.n_layers,
        "feed_forward_length": config.hidden_dim,
        "attention.head_count": config.n_heads,
        "attention.head_count_kv": config.n_kv_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": float(config.norm_eps),
        "rope.dimension_count": config.head_dim,
        "rope.freq_base": float(config.rope_theta),
        **rope_metadata(config),
    }
    return {"general.architecture": "llama"} | {PREFIX + name: x for name, x in about.items()}


def placeholder_vocabulary(size: int) -> dict[str, Any]:
    """A vocabulary for a model that has none, as most readers want one: <unk> <s> </s> t3 t4 …"""
    names = ["<unk>", "<s>", "</s>", *(f"t{i}" for i in range(3, size))][:size]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[NORMAL] * max(size - 3, 0)][:size]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.scores": [-float(i) for i in range(size)],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": min(1, size - 1),
        "tokenizer.ggml.eos_token_id": min(2, size - 1),
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
    }


# — the file —


def gguf_name(ours: str) -> str:
    """The name of one of our tensors. Example: layers.3.wq → blk.3.attn_q.weight."""
    first, _, rest = ours.partition(".")
    if first != "layers":
        return {name: theirs for theirs, name in NAMES.items()}[ours]
    layer, _, part = rest.partition(".")
    return f"blk.{layer}." + {name: theirs for theirs, name in LAYER_NAMES.items()}[part]


def tensor_entry(name: str, array: np.ndarray, offset: int) -> bytes:
    """How the header describes a tensor: its axes fastest first."""
    axes = array.shape[::-1]
    entry = string(name) + struct.pack("<I", len(axes)) + struct.pack(f"<{len(axes)}Q", *axes)
    return entry + struct.pack("<IQ", F32_TENSOR, offset)


def write(path: Path, config: LlamaConfig, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a file that llama.cpp loads, whole or not at all.

    tensors: by our names, RoPE's pairs adjacent, as GGUF keeps them; rounded to float32. Raises
    ConfigError for a config that the format cannot hold.
    """
    keys = metadata(config) | placeholder_vocabulary(config.vocab_size)
    arrays: dict[str, np.ndarray] = {}
    for name, shape in expected_shapes(config):
        if name not in tensors or tensors[name].shape != shape:
            raise CheckpointError(f"{path}: needs the tensor {name} in the shape {shape}")
        arrays[gguf_name(name)] = np.ascontiguousarray(tensors[name], "<f4")
    if (by := divisors(config)) is not None:
        arrays[DIVISORS] = by

    entries, offset = [], 0
    for name, array in arrays.items():
        entries.append(tensor_entry(name, array, offset))
        offset += array.nbytes + -array.nbytes % ALIGNMENT
    start = b"GGUF" + struct.pack("<IQQ", VERSION, len(arrays), len(keys))
    fields = b"".join(string(key) + value(x) for key, x in keys.items())
    with writing(path) as file:
        file.write(padded(start + fields + b"".join(entries)))
        for array in arrays.values():
            file.write(padded(array.tobytes()))
