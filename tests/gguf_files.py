"""GGUF files made in code, byte by byte, so that a test can also make a wrong one.

The header is written here with struct and shares nothing with the reader; quantised payloads come
from the `gguf` package where a test asks for them.
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numpy_llama.config import LlamaConfig

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B"}
FORMATS |= {U64: "Q", I64: "q", F64: "d"}
TYPE_CODES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8}
TYPE_CODES |= {"F64": 28, "BF16": 30, "TQ1_0": 34, "TQ2_0": 35, "MXFP4": 39}

THEIR_NAMES = {  # of a layer's tensors, by ours
    "attn_norm": "attn_norm.weight",
    "wq": "attn_q.weight",
    "wk": "attn_k.weight",
    "wv": "attn_v.weight",
    "wo": "attn_output.weight",
    "bq": "attn_q.bias",
    "bk": "attn_k.bias",
    "bv": "attn_v.bias",
    "bo": "attn_output.bias",
    "ffn_norm": "ffn_norm.weight",
    "w_gate": "ffn_gate.weight",
    "w_up": "ffn_up.weight",
    "w_down": "ffn_down.weight",
    "b_gate": "ffn_gate.bias",
    "b_up": "ffn_up.bias",
    "b_down": "ffn_down.bias",
    "tok_embeddings": "token_embd.weight",
    "final_norm": "output_norm.weight",
    "lm_head": "output.weight",
}


class Typed(NamedTuple):
    """A metadata value of a type that Python's own does not tell: Typed(U64, 3)."""

    kind: int
    value: Any


class Tensor(NamedTuple):
    """A tensor to write: shape slowest axis first, the type's code, and its bytes."""

    name: str
    shape: tuple[int, ...]
    code: int
    data: bytes


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def kind_of(value: Any) -> int:
    """The type in which converters write a value: bool, u32, f32, string."""
    kinds = {bool: BOOL, int: U32, float: F32, str: STRING, bytes: STRING}
    return kinds[type(value)]


def payload(kind: int, value: Any) -> bytes:
    return string(value) if kind == STRING else struct.pack("<" + FORMATS[kind], value)


def value_bytes(value: Any) -> bytes:
    """The type and the bytes of a value; a list becomes an array of the type of its elements."""
    if isinstance(value, Typed) and not isinstance(value.value, list):
        return struct.pack("<I", value.kind) + payload(value.kind, value.value)
    kind, items = (None, value) if not isinstance(value, Typed) else value
    if not isinstance(items, list):
        return struct.pack("<I", kind_of(items)) + payload(kind_of(items), items)
    if kind is None:
        kind = kind_of(items[0])
    start = struct.pack("<IIQ", ARRAY, kind, len(items))
    return start + b"".join(payload(kind, item) for item in items)


def entry(key: str | bytes, value: Any) -> bytes:
    """One key and its value, as the header holds them."""
    return string(key) + value_bytes(value)


def tensor_entry(name: str | bytes, shape: Sequence[int], code: int, offset: int) -> bytes:
    """What the header says of one tensor. The file has the fastest axis first."""
    dims = struct.pack(f"<{len(shape)}Q", *reversed(shape))
    return string(name) + struct.pack("<I", len(shape)) + dims + struct.pack("<IQ", code, offset)


def padding(n: int, alignment: int) -> bytes:
    return b"\0" * (-n % alignment)


def header_bytes(
    entries: Sequence[bytes],
    infos: Sequence[bytes] = (),
    version: int = 3,
    n_keys: int | None = None,
    n_tensors: int | None = None,
) -> bytes:
    """A header of these parts; the counts are theirs unless a test wants to lie."""
    n_keys = len(entries) if n_keys is None else n_keys
    n_tensors = len(infos) if n_tensors is None else n_tensors
    start = b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_keys)
    return start + b"".join(entries) + b"".join(infos)


def gguf_bytes(
    metadata: Mapping[str, Any], tensors: Sequence[Tensor] = (), alignment: int = 32
) -> bytes:
    """A whole, valid file. An alignment other than 32 is written into the metadata."""
    entries = [entry(key, value) for key, value in metadata.items()]
    if alignment != 32:
        entries.append(entry("general.alignment", alignment))
    infos, data = [], b""
    for tensor in tensors:
        infos.append(tensor_entry(tensor.name, tensor.shape, tensor.code, len(data)))
        data += tensor.data + padding(len(tensor.data), alignment)
    header = header_bytes(entries, infos)
    return header + padding(len(header), alignment) + data


def encoded(name: str, array: np.ndarray, type_name: str = "F32") -> Tensor:
    """A tensor in a type that can be written: a float, or one that `gguf` can quantise to."""
    shape = tuple(array.shape)
    if type_name in ("F32", "F16", "F64"):
        width = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[type_name]
        return Tensor(name, shape, TYPE_CODES[type_name], array.astype(width).tobytes())
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    data = quantize(array.astype(np.float32), GGMLQuantizationType[type_name])
    return Tensor(name, shape, TYPE_CODES[type_name], data.tobytes())


def llama_metadata(config: LlamaConfig) -> dict[str, Any]:
    """What a converter writes of a config (scaled RoPE is left to the test)."""
    return {
        "general.architecture": "llama",
        "llama.block_count": config.n_layers,
        "llama.context_length": config.max_context,
        "llama.embedding_length": config.dim,
        "llama.feed_forward_length": config.hidden_dim,
        "llama.attention.head_count": config.n_heads,
        "llama.attention.head_count_kv": config.n_kv_heads,
        "llama.attention.key_length": config.head_dim,
        "llama.attention.value_length": config.head_dim,
        "llama.attention.layer_norm_rms_epsilon": float(config.norm_eps),
        "llama.rope.dimension_count": config.head_dim,
        "llama.rope.freq_base": float(config.rope_theta),
        "llama.vocab_size": config.vocab_size,
    }


def their_name(ours: str) -> str:
    """Example: layers.3.wq → blk.3.attn_q.weight."""
    *layer, name = ours.split(".")
    return f"blk.{layer[1]}.{THEIR_NAMES[name]}" if layer else THEIR_NAMES[name]


def llama_tensors(arrays: Mapping[str, np.ndarray], type_name: str = "F32") -> list[Tensor]:
    """Arrays by our names as a converter writes them: matrices in the type, vectors in F32.

    Rows of wq and wk have RoPE's pairs adjacent both here and in GGUF: nothing is permuted.
    """
    return [
        encoded(their_name(name), array, type_name if array.ndim > 1 else "F32")
        for name, array in arrays.items()
    ]


def write_llama(
    path: Path, config: LlamaConfig, arrays: Mapping[str, np.ndarray], type_name: str = "F32"
) -> Path:
    """A whole model in one file."""
    path.write_bytes(gguf_bytes(llama_metadata(config), llama_tensors(arrays, type_name)))
    return path
