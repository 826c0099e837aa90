"""GGUF, the one-file format of llama.cpp: our names for its tensors, and their values.

Block-quantised types are expanded by the `gguf` package, which ggml's authors keep; the header is
read by ourselves (see gguf_header.py), and unquantised tensors are mapped. The rows of attn_q and
attn_k have RoPE's pairs adjacent, as ours do: the converters permute them.
"""

import mmap
import re
from pathlib import Path

import numpy as np

from ...errors import CheckpointError, MissingExtraError
from ..checkpoint import Checkpoint, StoredTensor, check_tensors
from ..storage.files import check_whole, map_file
from ..storage.strict_json import shown
from .config import check_architecture, config_of
from .header import GGUFHeader, TensorInfo, read_header

NAMES = {
    "token_embd.weight": "tok_embeddings",
    "output_norm.weight": "final_norm",
    "output.weight": "lm_head",
}
LAYER_NAMES = {
    "attn_norm.weight": "attn_norm",
    "attn_q.weight": "wq",
    "attn_k.weight": "wk",
    "attn_v.weight": "wv",
    "attn_output.weight": "wo",
    "attn_q.bias": "bq",
    "attn_k.bias": "bk",
    "attn_v.bias": "bv",
    "attn_output.bias": "bo",
    "ffn_norm.weight": "ffn_norm",
    "ffn_gate.weight": "w_gate",
    "ffn_up.weight": "w_up",
    "ffn_down.weight": "w_down",
    "ffn_gate.bias": "b_gate",
    "ffn_up.bias": "b_up",
    "ffn_down.bias": "b_down",
}
DIVISORS = "rope_freqs.weight"  # of the RoPE frequencies: no weight, but Llama 3's scaling

MAPPED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}
# Whole numbers, and types that exist only within a computation or that `gguf` cannot expand.
NOT_WEIGHTS = {"I8", "I16", "I32", "I64", "Q8_1", "Q8_K", "Q1_0"}
EXPAND_AT_ONCE = 1 << 22  # values; `gguf` holds them twice


def our_name(theirs: str) -> str | None:
    """Our name of a tensor. Example: blk.3.attn_q.weight → layers.3.wq. None for an unknown one."""
    layer = re.fullmatch(r"blk\.(0|[1-9][0-9]{0,5})\.(.+)", theirs)
    if layer is None:
        return NAMES.get(theirs)
    ours = LAYER_NAMES.get(layer[2])
    return ours and f"layers.{layer[1]}.{ours}"


def expand(blocks: np.ndarray, type_name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 values of quantised blocks, exactly as the `gguf` package has them.

    blocks: (rows, bytes of a row) of uint8. Some rows at a time, so that little is held twice.
    """
    try:
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize
    except ImportError:
        raise MissingExtraError("gguf", f"a GGUF tensor of the type {type_name}") from None
    rows, row = len(blocks), shape[-1]
    values = np.empty((rows, row), np.float32)
    step = max(1, EXPAND_AT_ONCE // row)
    with np.errstate(all="ignore"):  # an infinite scale gives NaNs, which the logits then show
        for i in range(0, rows, step):
            some = blocks[i : i + step]
            values[i : i + step] = dequantize(some, GGMLQuantizationType[type_name])
    return values.reshape(shape)


def stored_tensor(
    header: GGUFHeader, mapped: mmap.mmap, name: str, info: TensorInfo
) -> StoredTensor:
    """A tensor whose bytes the header has placed within the map."""
    if info.type.name in NOT_WEIGHTS:
        raise CheckpointError(
            f"{header.path}: tensor {shown(name)} has the type {info.type.name}, "
            "which cannot be read as weights"
        )
    start = header.data_start + info.offset

    def load() -> np.ndarray:
        check_whole(header.path, mapped)
        dtype = np.dtype(MAPPED.get(info.type.name, "u1"))
        flat = np.frombuffer(mapped, dtype, info.nbytes // dtype.itemsize, start)
        if info.type.name in MAPPED:
            return flat.reshape(info.shape)
        row_bytes = info.shape[-1] // info.type.values * info.type.nbytes
        return expand(flat.reshape(-1, row_bytes), info.type.name, info.shape)

    return StoredTensor(info.shape, info.type.name, info.nbytes, load)


def split_prefix(path: Path, count: int) -> str:
    """NAME of a file that is one of `count`, by the names that llama.cpp gives them."""
    match = re.fullmatch(r"(.+)-([0-9]{5})-of-([0-9]{5})\.gguf", path.name, re.DOTALL)
    if match is None or int(match[3]) != count:
        raise CheckpointError(
            f"{path}: split.count is {count}, so the file must be one of "
            "NAME-00001-of-0000N.gguf beside each other, with that N; give it its name back"
        )
    return match[1]


def read_parts(path: Path) -> list[GGUFHeader]:
    """The headers of all files of a model, of which `path` is one, in order."""
    given = read_header(path)
    count = given.get("split.count", int, 1)
    if count in (0, 1):
        return [given]
    prefix = split_prefix(path, count)
    headers = []
    for i in range(count):
        part = path.with_name(f"{prefix}-{i + 1:05}-of-{count:05}.gguf")
        header = given if part == path else read_header(part)
        numbers = header.get("split.no", int), header.get("split.count", int)
        if numbers != (i, count):
            raise CheckpointError(
                f"{part}: split.no and split.count are {numbers}, not {(i, count)}: "
                "the file belongs to another model, or has another one's name"
            )
        headers.append(header)
    held = sum(len(header.tensors) for header in headers)
    declared = headers[0].get("split.tensors.count", int, held)
    if declared != held:
        raise CheckpointError(
            f"{path}: split.tensors.count is {declared}, but the {count} files hold {held}"
        )
    return headers


def named_tensors(headers: list[GGUFHeader]) -> dict[str, StoredTensor]:
    """The tensors of all files by our names (and the divisors by theirs)."""
    tensors: dict[str, StoredTensor] = {}
    for header in headers:
        mapped = map_file(header.path)
        if len(mapped) != header.size:
            raise CheckpointError(f"{header.path}: the file changed while it was opened")
        for theirs, info in header.tensors.items():
            ours = DIVISORS if theirs == DIVISORS else our_name(theirs)
            if ours is None:
                raise CheckpointError(
                    f"{header.path}: tensor {shown(theirs)} is not part of a plain Llama"
                )
            if ours in tensors:
                raise CheckpointError(f"{header.path}: tensor {shown(theirs)} is in two files")
            tensors[ours] = stored_tensor(header, mapped, theirs, info)
    return tensors


def read_divisors(path: Path, tensors: dict[str, StoredTensor]) -> np.ndarray | None:
    """Take `rope_freqs.weight` out of the tensors, and read it."""
    stored = tensors.pop(DIVISORS, None)
    if stored is None:
        return None
    if stored.dtype != "F32" or len(stored.shape) != 1:
        raise CheckpointError(
            f"{path}: tensor {DIVISORS} must be a vector of F32, "
            f"not {stored.dtype} of shape {stored.shape}"
        )
    return stored.load()


def zero_bias(dim: int) -> StoredTensor:
    """The bias of wo that a model with biases on wq, wk and wv alone (Qwen's way) lacks: zeros."""
    return StoredTensor((dim,), "F32", 0, lambda: np.zeros(dim, np.float32))


def check_vocabulary(header: GGUFHeader, vocab_size: int) -> None:
    """Raise CheckpointError unless the vocabulary, if any, has an entry for each embedding."""
    for name in ("tokens", "scores", "token_type"):
        entries = header.metadata.get(f"tokenizer.ggml.{name}")
        if entries is None:
            continue
        if not isinstance(entries, list | np.ndarray):
            raise CheckpointError(f"{header.path}: tokenizer.ggml.{name} is not an array")
        if len(entries) != vocab_size:
            raise CheckpointError(
                f"{header.path}: tokenizer.ggml.{name} has {len(entries)} entries, "
                f"but there are {vocab_size} embeddings"
            )


def read(path: Path) -> Checkpoint:
    """Open a GGUF file, or all files of a split one of which one is named.

    No weight is read yet. Raises CheckpointError or ConfigError; loading a quantised tensor
    raises MissingExtraError where the `gguf` package is not installed.
    """
    headers = read_parts(path)
    check_architecture(headers[0])
    tensors = named_tensors(headers)
    if "tok_embeddings" not in tensors:
        raise CheckpointError(f"{path}: tensor token_embd.weight is missing")
    divisors = read_divisors(path, tensors)
    vocab_size = tensors["tok_embeddings"].shape[0]
    config = config_of(headers[0], tensors.keys(), vocab_size, divisors)
    check_vocabulary(headers[0], vocab_size)
    if config.attention_bias and not any(name.endswith(".bo") for name in tensors):
        for i in range(config.n_layers):
            tensors[f"layers.{i}.bo"] = zero_bias(config.dim)
    check_tensors(path, config, tensors)
    return Checkpoint(path, f"GGUF v{headers[0].version}", config, tensors, "adjacent")
