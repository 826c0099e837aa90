"""npz files, as the small NumPy ports of Llama ship their weights (llama3.np, llama.np).

Inside are Hugging Face's names. The file says neither how RoPE's pairs lie, which depends on where
the weights came from (llama3.np's stories15M: adjacent, from llama2.c; a converted Hugging Face
model: half-split), nor the number of heads. Both must be given, or guessing would give a model that
speaks, badly. Members that are stored are mapped; compressed ones are unpacked when they are
loaded. Format of a member: NumPy, numpy/lib/_format_impl.py.
"""

import math
import mmap
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..choices import RopeLayout
from ..errors import CheckpointError, ConfigError
from .checkpoint import Checkpoint, StoredTensor
from .huggingface.read import CONFIG, MAX_CONFIG, checkpoint_from_hf_tensors, read_json
from .storage.files import check_whole
from .storage.strict_json import shown
from .storage.zip_archive import DEFLATED, Archive, Member, open_archive, starts_as_zip

MAX_HEADER = 10_000  # bytes; NumPy's own limit
MAX_AXES = 8
MOST_PACKING, ALWAYS_ALLOWED = 64, 1 << 20  # weights do not shrink 64-fold; a norm of ones may

# The one form in which NumPy writes the header; evaluating it as Python is not needed.
DESCRIPTION = re.compile(
    r"\{'descr': '([<>|]\w{2,8})', 'fortran_order': (True|False), "
    r"'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\),? *\}\s*"
)
KINDS = {"f8": "F64", "f4": "F32", "f2": "F16", "V2": "BF16"}  # bfloat16 has no name in NumPy

# What llama3.np and llama.np compute with, where there is no config.json.
PORTS = {"rms_norm_eps": 1e-6, "rope_theta": 10000.0}


@dataclass(frozen=True)
class Array:
    """One array of an npz: its header, and where its data start within the unpacked member."""

    dtype: np.dtype
    kind: str
    shape: tuple[int, ...]
    fortran_order: bool
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return math.prod(self.shape) * self.dtype.itemsize


def unpack(archive: Archive, member: Member, count: int) -> bytes:
    """The first `count` bytes of a member, and never more memory than that."""
    if member.method != DEFLATED:
        return archive.read(member, count)
    packed = archive.read(member, count + 1024 if count <= MAX_HEADER else None)
    try:
        return zlib.decompressobj(-15).decompress(packed, count)
    except zlib.error as error:
        raise CheckpointError(f"{archive.path}: {member.name} is damaged: {error}") from None


def parse_array(
    start: bytes, member: Member, where: str, kinds: Mapping[str, str] = KINDS
) -> Array:
    """The header at the start of a member, which must account for every byte of it."""
    if start[:6] != b"\x93NUMPY" or start[6:8] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise CheckpointError(f"{where}: is not an array of NumPy")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    text = start[8 + width : 8 + width + length]
    if len(text) < length:
        raise CheckpointError(f"{where}: has a header of {length} bytes, which no array needs")
    found = DESCRIPTION.fullmatch(text.decode("latin-1"))
    kind = kinds.get(found[1][1:]) if found else None
    if found is None or kind is None:
        of = "floats" if kinds is KINDS else "numbers"
        raise CheckpointError(
            f"{where}: is not an array of {of}; its header is {shown(text.decode('latin-1'))}"
        )
    shape = tuple(int(n) for n in found[3].replace(" ", "").split(",") if n)
    order = found[1][0].replace("|", "<")
    dtype = np.dtype(f"{order}u2" if kind == "BF16" else found[1])
    array = Array(dtype, kind, shape, found[2] == "True", 8 + width + length)
    if len(shape) > MAX_AXES or array.start + array.nbytes != member.size:
        raise CheckpointError(
            f"{where}: says that its shape is {shown(shape)}, which its {member.size} bytes are not"
        )
    return array


def stored_tensor(
    archive: Archive, member: Member, kinds: Mapping[str, str] = KINDS
) -> StoredTensor:
    """One member as a tensor: a view of the file if it is stored as it is, and can be one."""
    where = f"{archive.path}: {member.name}"
    if member.size > ALWAYS_ALLOWED and member.size > MOST_PACKING * member.packed:
        raise CheckpointError(
            f"{where}: claims that {member.packed} bytes unpack to {member.size}, which "
            "weights never do"
        )
    array = parse_array(unpack(archive, member, MAX_HEADER), member, where, kinds)
    order: Literal["F", "C"] = "F" if array.fortran_order else "C"
    native = array.dtype.newbyteorder("=")

    def load() -> np.ndarray:
        check_whole(archive.path, archive.mapped)
        if member.method != DEFLATED:
            data: bytes | mmap.mmap = archive.mapped
            start = member.offset + array.start
        else:
            data, start = unpack(archive, member, member.size), array.start
            if len(data) != member.size:
                raise CheckpointError(f"{where}: is damaged: it unpacks to {len(data)} bytes")
        if not array.nbytes:
            return np.empty(array.shape, native)
        view = np.ndarray(array.shape, array.dtype, data, start, order=order)
        return view.astype(native, copy=False)

    return StoredTensor(array.shape, array.kind, array.nbytes, load)


def read_tensors(path: Path, kinds: Mapping[str, str] = KINDS) -> dict[str, StoredTensor]:
    """The arrays of an npz file by their names; no data are unpacked yet.

    kinds: which arrays are taken, by NumPy's name and ours; weights are floats.
    """
    archive = open_archive(path)
    tensors: dict[str, StoredTensor] = {}
    for member in archive.members.values():
        if not member.name.endswith(".npy"):
            raise CheckpointError(f"{path}: has a member {shown(member.name)}, which is no array")
        tensors[member.name.removesuffix(".npy")] = stored_tensor(archive, member, kinds)
    return tensors


def config_from_shapes(
    path: Path, tensors: Mapping[str, StoredTensor], n_heads: int | None, max_context: int
) -> dict[str, Any]:
    """A config.json where there is none: sizes from shapes, the rest as the ports compute."""
    if n_heads is None:
        raise ConfigError(
            f"{path}: does not say how many heads the model has; put its {CONFIG} beside it, "
            "or give --n-heads"
        )
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    first = "model.layers.0."
    try:
        vocab_size, dim = shapes["model.embed_tokens.weight"]
        q_rows, _ = shapes[f"{first}self_attn.q_proj.weight"]
        kv_rows, _ = shapes[f"{first}self_attn.k_proj.weight"]
        hidden_dim, _ = shapes[f"{first}mlp.gate_proj.weight"]
    except (KeyError, ValueError):
        raise CheckpointError(f"{path}: lacks the matrices of a Llama's first layer") from None
    if n_heads < 1 or q_rows % n_heads or not q_rows or kv_rows % (q_rows // n_heads):
        raise ConfigError(
            f"{path}: {q_rows} rows of queries and {kv_rows} of keys are no {n_heads} heads"
        )
    return PORTS | {
        "model_type": "llama",
        "hidden_size": dim,
        "num_hidden_layers": sum(name.endswith("mlp.gate_proj.weight") for name in shapes),
        "num_attention_heads": n_heads,
        "num_key_value_heads": kv_rows // (q_rows // n_heads),
        "head_dim": q_rows // n_heads,
        "intermediate_size": hidden_dim,
        "vocab_size": vocab_size,
        "max_position_embeddings": max_context,
        "tie_word_embeddings": "lm_head.weight" not in shapes,
    }


def recognises(path: Path) -> bool:
    """Whether a path is a zip archive whose members are all arrays of NumPy."""
    try:
        members = open_archive(path).members if starts_as_zip(path) else {}
    except CheckpointError:
        return False
    return bool(members) and all(name.endswith(".npy") for name in members)


def read(
    path: Path,
    rope_layout: RopeLayout | None = None,
    n_heads: int | None = None,
    max_context: int = 256,
) -> Checkpoint:
    """Open an npz file. The config is that of config.json beside it, else it follows from shapes.

    n_heads and max_context are looked at only without config.json; 256 is llama3.np's stories15M.
    Raises CheckpointError when `rope_layout` is not given: nothing in the file tells it.
    """
    if rope_layout not in ("adjacent", "half-split"):
        raise CheckpointError(
            f"{path}: an npz does not say how RoPE's pairs lie in wq and wk: convert it with "
            "`llama-np convert --rope-layout adjacent` (weights from Meta or llama2.c, as "
            "llama3.np's) or `half-split` (from Hugging Face)"
        )
    tensors = read_tensors(path)
    beside = path.parent / CONFIG
    if beside.is_file():
        raw_config = read_json(beside, MAX_CONFIG, ConfigError)
    else:
        raw_config = config_from_shapes(path, tensors, n_heads, max_context)
    checkpoint = checkpoint_from_hf_tensors(path, "npz", raw_config, tensors)
    return replace(checkpoint, rope_layout=rope_layout)
