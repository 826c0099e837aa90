"""Files as torch.save writes them, made in code opcode by opcode: no PyTorch, and any mistake.

The pieces are bytes of a pickle; what each opcode means is in CPython's Lib/pickletools.py.
"""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from numpy_llama.config import LlamaConfig

STORAGES = {"float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage"}
STORAGES["uint16"] = "BFloat16Storage"  # bfloat16, as its bits

META_NAMES = {
    "attn_norm": "attention_norm",
    "wq": "attention.wq",
    "wk": "attention.wk",
    "wv": "attention.wv",
    "wo": "attention.wo",
    "ffn_norm": "ffn_norm",
    "w_gate": "feed_forward.w1",
    "w_down": "feed_forward.w2",
    "w_up": "feed_forward.w3",
}


def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    """BININT, or LONG1 where it does not fit."""
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tuple_of(*items: bytes) -> bytes:
    """MARK … TUPLE."""
    return b"(" + b"".join(items) + b"t"


def name_of(module: str, name: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{name}\n".encode()


def call(module: str, name: str, *args: bytes) -> bytes:
    """GLOBAL … REDUCE."""
    return name_of(module, name) + tuple_of(*args) + b"R"


ORDERED_DICT = call("collections", "OrderedDict")


def storage(kind: str, key: str, length: int) -> bytes:
    """The persistent id of a storage, BINPERSID."""
    kind_name = name_of("torch", kind)
    return tuple_of(text("storage"), kind_name, text(key), text("cpu"), number(length)) + b"Q"


def tensor(
    place: bytes, offset: int, shape: tuple[int, ...], strides: tuple[int, ...] | None = None
) -> bytes:
    """A call of _rebuild_tensor_v2; strides default to those of C order."""
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    sizes = (tuple_of(*map(number, shape)), tuple_of(*map(number, strides)))
    return call(
        "torch._utils", "_rebuild_tensor_v2", place, number(offset), *sizes, b"\x89", ORDERED_DICT
    )


def program(items: Mapping[str, bytes]) -> bytes:
    """A pickle of an OrderedDict with these items."""
    pairs = b"".join(text(name) + value for name, value in items.items())
    return b"\x80\x02" + ORDERED_DICT + b"(" + pairs + b"u."


def write_zip(path: Path, members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """A zip archive of these members, by Python's own writer."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def torch_members(arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """The members of a torch file: data.pkl, and each array in a storage of its own."""
    items, members = {}, {}
    for key, (name, array) in enumerate(arrays.items()):
        place = storage(STORAGES[array.dtype.name], str(key), array.size)
        items[name] = tensor(place, 0, array.shape)
        members[f"archive/data/{key}"] = array.tobytes()
    return {"archive/data.pkl": program(items), "archive/byteorder": b"little"} | members


def write_torch(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """A file as torch.save(state_dict) writes it."""
    return write_zip(path, torch_members(arrays))


def meta_name(ours: str) -> str:
    """Meta's name of one of our tensors."""
    whole_model = {"tok_embeddings": "tok_embeddings", "final_norm": "norm", "lm_head": "output"}
    if ours in whole_model:
        return f"{whole_model[ours]}.weight"
    _, i, name = ours.split(".")
    return f"layers.{i}.{META_NAMES[name]}.weight"


def meta_part(
    ours: Mapping[str, np.ndarray], config: LlamaConfig, rank: int, ranks: int, embed_axis: int
) -> dict[str, np.ndarray]:
    """What one of `ranks` GPUs holds of a model, under Meta's names.

    wo and w2 are cut by columns, the other matrices by rows, norms not at all; of keys and values,
    a GPU has the heads that its query heads need, even if its neighbour has them too.
    """
    part = {}
    for name, array in ours.items():
        kind = name.rpartition(".")[2]
        axis = 1 if kind in ("wo", "w_down") else embed_axis if kind == "tok_embeddings" else 0
        if kind in ("wk", "wv") and config.n_kv_heads < ranks:
            heads = array.reshape(config.n_kv_heads, config.head_dim, config.dim)
            piece = heads[rank * config.n_kv_heads // ranks]
        elif array.ndim == 1:
            piece = array
        else:
            piece = np.split(array, ranks, axis)[rank]
        part[meta_name(name)] = np.ascontiguousarray(piece)
    return part
