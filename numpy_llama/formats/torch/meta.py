"""Meta's own files: consolidated.00.pth, consolidated.01.pth, …, and params.json beside them.

Each file is the part of the model that one GPU held. A part has every tensor, cut along the axis on
which Meta's parallel layers divide it. Which axis that was is read from the shapes: embeddings
were cut by columns in Llama 1 and 2, and by rows since.
Source: Meta, llama-models, models/checkpoint.py and models/llama3/model.py.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...config import LlamaConfig
from ...errors import CheckpointError, ConfigError
from ..checkpoint import Checkpoint, StoredTensor, check_tensors, expected_shapes
from ..huggingface.read import same_values
from ..storage.strict_json import shown
from .meta_params import PARAMS, Params, max_context, read_params, rope_scaling
from .read import read_tensors

PART = re.compile(r"consolidated\.(\d{2})\.pth")

WHOLE_MODEL = {"tok_embeddings": "tok_embeddings", "norm": "final_norm", "output": "lm_head"}
IN_BLOCK = {
    "attention_norm": "attn_norm",
    "attention.wq": "wq",
    "attention.wk": "wk",
    "attention.wv": "wv",
    "attention.wo": "wo",
    "ffn_norm": "ffn_norm",
    "feed_forward.w1": "w_gate",
    "feed_forward.w2": "w_down",
    "feed_forward.w3": "w_up",
}
BLOCK = re.compile(r"layers\.(0|[1-9]\d{0,3})\.(.+)")


def our_name(theirs: str) -> str | None:
    """Our name of one of Meta's tensors. Example: layers.3.attention.wq.weight → layers.3.wq"""
    stem = theirs.removesuffix(".weight")
    if stem == theirs:
        return None
    if stem in WHOLE_MODEL:
        return WHOLE_MODEL[stem]
    block = BLOCK.fullmatch(stem)
    if block and block[2] in IN_BLOCK:
        return f"layers.{block[1]}.{IN_BLOCK[block[2]]}"
    return None


def find_parts(folder: Path) -> list[Path]:
    """The files consolidated.NN.pth, of which none from 00 to the last may be missing."""
    found = sorted(p for p in folder.iterdir() if PART.fullmatch(p.name))
    for i, path in enumerate(found):
        if path.name != f"consolidated.{i:02d}.pth":
            raise CheckpointError(
                f"{folder}: consolidated.{i:02d}.pth is missing, and {path.name} is there"
            )
    if not found:
        raise CheckpointError(f"{folder}: consolidated.00.pth is missing")
    return found


def read_parts(folder: Path) -> dict[str, list[StoredTensor]]:
    """Each tensor under our name, as the list of its parts, which must be alike."""
    paths = find_parts(folder)
    parts: dict[str, list[StoredTensor]] = {}
    for rank, path in enumerate(paths):
        for theirs, tensor in read_tensors(path).items():
            if theirs.endswith("rope.freqs"):  # a table that the model computes for itself
                continue
            name = our_name(theirs)
            if name is None:
                raise CheckpointError(f"{path}: {shown(theirs)} is not a tensor of a Llama")
            pieces = parts.setdefault(name, [])
            if len(pieces) != rank:
                raise CheckpointError(f"{path}: {shown(theirs)} is not in all files before it")
            pieces.append(tensor)
    for name, pieces in parts.items():
        if len(pieces) != len(paths):
            raise CheckpointError(f"{paths[len(pieces)]}: has no part of {shown(name)}")
        if len({(piece.shape, piece.dtype) for piece in pieces}) > 1:
            raise CheckpointError(
                f"{folder}: the parts of {shown(name)} differ in shape or dtype from file to file"
            )
    return parts


def joined(parts: Sequence[StoredTensor], axis: int, shape: tuple[int, ...]) -> StoredTensor:
    """The parts side by side. Only a tensor in several parts is copied, when it is asked for."""

    def load() -> np.ndarray:
        return np.concatenate([part.load() for part in parts], axis)

    if len(parts) == 1:
        return parts[0]
    return StoredTensor(shape, parts[0].dtype, sum(part.nbytes for part in parts), load)


def one_of_each(
    name: str, parts: Sequence[StoredTensor], copies: int, shape: tuple[int, ...], source: Path
) -> StoredTensor:
    """Keys and values when there are fewer heads than GPUs: neighbours hold copies of one head.

    GPU r has the head r // copies, since its query heads belong to that group. The parts are
    compared when the tensor is loaded: another order would give a model that nearly works.
    """
    rows = joined(parts[::copies], 0, shape)

    def load() -> np.ndarray:
        for i, part in enumerate(parts):
            if not same_values(part, parts[i - i % copies]):
                raise CheckpointError(
                    f"{source}: {name} has {copies} copies of each part, but those in files "
                    f"{i - i % copies:02d} and {i:02d} differ"
                )
        return rows.load()

    return StoredTensor(shape, rows.dtype, rows.nbytes, load)


def assemble(
    name: str, parts: Sequence[StoredTensor], shape: tuple[int, ...], source: Path
) -> StoredTensor:
    """The whole tensor of a given shape: from the shape of a part follows how it was cut."""
    n, part = len(parts), parts[0].shape
    if name.endswith(("wk", "wv")) and len(part) == 2 and part[1:] == shape[1:]:
        copies, remainder = divmod(n * part[0], shape[0])
        if copies > 1 and remainder == 0 and n % copies == 0:
            return one_of_each(name, parts, copies, shape, source)
    if part == shape:  # a norm: every GPU had all of it
        return parts[0]
    for axis in range(len(shape)):
        if (*part[:axis], n * part[axis] if len(part) > axis else 0, *part[axis + 1 :]) == shape:
            return joined(parts, axis, shape)
    raise CheckpointError(
        f"{source}: {name} has the shape {part} in each of {n} files, from which "
        f"{PARAMS} makes no {shape}"
    )


def embedding_shape(params: Params, parts: Sequence[StoredTensor], source: Path) -> tuple[int, int]:
    """(vocab_size, dim): a part has all columns (Llama 3) or all rows (Llama 1 and 2)."""
    n, part = len(parts), parts[0].shape
    if len(part) == 2 and part[1] == params.dim:
        return n * part[0], params.dim
    if len(part) == 2 and n * part[1] == params.dim:
        return part[0], params.dim
    raise CheckpointError(
        f"{source}: tok_embeddings has the shape {part} in each of {n} files, "
        f"and dim is {params.dim}"
    )


def hidden_size(params: Params, parts: Sequence[StoredTensor], source: Path) -> int:
    """The rows of w1, which must be as many as params.json calls for."""
    rows = len(parts) * parts[0].shape[0] if parts[0].shape else 0
    if params.hidden_dim not in (None, rows):
        raise CheckpointError(
            f"{source}: feed_forward.w1 has {rows} rows, and by multiple_of and "
            f"ffn_dim_multiplier in {PARAMS} it has {params.hidden_dim}"
        )
    return rows


def is_tied(parts: Mapping[str, Sequence[StoredTensor]]) -> bool:
    """Whether the head is missing or equals the embeddings, as in Llama 3.2, which stores both.

    Untied models cost nothing to tell: they differ within the first rows.
    """
    head, embeddings = parts.get("lm_head"), parts["tok_embeddings"]
    return head is None or all(map(same_values, head, embeddings))


def make_config(
    params: Params, parts: Mapping[str, Sequence[StoredTensor]], source: Path
) -> LlamaConfig:
    """The config: what params.json says, and the sizes that only the tensors tell."""
    for name in ("tok_embeddings", "layers.0.w_gate"):
        if name not in parts:
            raise CheckpointError(f"{source}: tensor {name} is missing")
    rows, _ = embedding_shape(params, parts["tok_embeddings"], source)
    tied = is_tied(parts)
    return LlamaConfig(
        dim=params.dim,
        n_layers=params.n_layers,
        n_heads=params.n_heads,
        n_kv_heads=params.n_kv_heads,
        head_dim=params.dim // params.n_heads,
        hidden_dim=hidden_size(params, parts["layers.0.w_gate"], source),
        vocab_size=rows if params.vocab_size == -1 else params.vocab_size,
        max_context=max_context(params),
        norm_eps=params.norm_eps,
        rope_theta=params.rope_theta,
        rope_scaling=rope_scaling(params, tied),
        tied_head=tied,
    )


def recognises(path: Path) -> bool:
    """Whether a path is a directory of Meta's files."""
    return (path / PARAMS).is_file() and any(PART.fullmatch(p.name) for p in path.iterdir())


def read(path: Path) -> Checkpoint:
    """Open a directory. Raises CheckpointError or ConfigError; only params and names are read."""
    params = read_params(path / PARAMS)
    parts = read_parts(path)
    try:
        config = make_config(params, parts, path)
    except ConfigError as error:
        raise ConfigError(f"{path / PARAMS}: {error}") from None
    if config.tied_head:
        parts.pop("lm_head", None)
    shapes = dict(expected_shapes(config))
    tensors = {
        name: assemble(name, pieces, shapes[name], path) if name in shapes else pieces[0]
        for name, pieces in parts.items()
    }
    check_tensors(path, config, tensors)
    files = len(parts["tok_embeddings"])
    return Checkpoint(path, f"Meta, {files} file{'s'[: files > 1]}", config, tensors, "adjacent")
