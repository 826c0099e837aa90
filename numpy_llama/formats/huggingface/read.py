"""A Hugging Face directory: config.json, and model.safetensors or its shards with an index.

Also the table of names, for every other file that holds tensors under Hugging Face's names.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import CheckpointError, ConfigError
from ..checkpoint import Checkpoint, StoredTensor, check_tensors
from ..storage.files import read_small
from ..storage.strict_json import parse_json, shown
from .config import config_from_hf
from .safetensors import ARRAYS, read_file

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_CONFIG = 1 << 20  # bytes
MAX_INDEX = 1 << 24

ReadFile = Callable[[Path], Mapping[str, StoredTensor]]

WHOLE_MODEL = {
    "tok_embeddings": "model.embed_tokens.weight",
    "final_norm": "model.norm.weight",
    "lm_head": "lm_head.weight",
}

IN_BLOCK = {
    "attn_norm": "input_layernorm.weight",
    "wq": "self_attn.q_proj.weight",
    "wk": "self_attn.k_proj.weight",
    "wv": "self_attn.v_proj.weight",
    "wo": "self_attn.o_proj.weight",
    "bq": "self_attn.q_proj.bias",
    "bk": "self_attn.k_proj.bias",
    "bv": "self_attn.v_proj.bias",
    "bo": "self_attn.o_proj.bias",
    "ffn_norm": "post_attention_layernorm.weight",
    "w_gate": "mlp.gate_proj.weight",
    "w_up": "mlp.up_proj.weight",
    "w_down": "mlp.down_proj.weight",
    "b_gate": "mlp.gate_proj.bias",
    "b_up": "mlp.up_proj.bias",
    "b_down": "mlp.down_proj.bias",
}

OURS = {theirs: ours for ours, theirs in (WHOLE_MODEL | IN_BLOCK).items()}
BLOCK = re.compile(r"model\.layers\.(0|[1-9][0-9]{0,3})\.(.+)")

# Tables that old versions saved beside the weights; they follow from the config.
BUFFER = re.compile(r".*\brotary_emb\.(inv_freq|cos_cached|sin_cached)")


def hf_name(ours: str) -> str:
    """Hugging Face's name of a tensor.

    Example: layers.3.wq → model.layers.3.self_attn.q_proj.weight
    """
    if ours in WHOLE_MODEL:
        return WHOLE_MODEL[ours]
    _, i, name = ours.split(".")
    return f"model.layers.{i}.{IN_BLOCK[name]}"


def our_name(theirs: str) -> str | None:
    """Our name of one of Hugging Face's tensors, or None if it is not part of a Llama."""
    if theirs in WHOLE_MODEL.values():
        return OURS[theirs]
    block = BLOCK.fullmatch(theirs)
    if block and block[2] in IN_BLOCK.values():
        return f"layers.{block[1]}.{OURS[block[2]]}"
    return None


def is_buffer(theirs: str) -> bool:
    """Whether a tensor is a table that the model computes for itself."""
    return BUFFER.fullmatch(theirs) is not None


def by_our_names(source: Path, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The tensors of a Llama under our names; CheckpointError for any that is not one of them."""
    ours = {}
    for theirs, tensor in tensors.items():
        name = our_name(theirs)
        if name is not None:
            ours[name] = tensor
        elif not is_buffer(theirs):
            raise CheckpointError(f"{source}: tensor {shown(theirs)} is not part of a Llama")
    return ours


def same_values(a: StoredTensor, b: StoredTensor) -> bool:
    """Whether two tensors hold the same bits, looked at a few rows at a time."""
    if (a.dtype, a.shape) != (b.dtype, b.shape) or a.dtype not in ARRAYS:
        return False
    x, y = a.load(), b.load()
    bits = f"u{x.itemsize}"  # as integers: NaN equals itself, and 0 is not -0
    rows = max(1, (1 << 20) // max(1, x[:1].size))
    return all(
        np.array_equal(x[i : i + rows].view(bits), y[i : i + rows].view(bits))
        for i in range(0, len(x), rows)
    )


def drop_tied_head(
    source: Path, tied: bool, tensors: dict[str, StoredTensor]
) -> dict[str, StoredTensor]:
    """Without the copy of the embeddings that some tied models store as lm_head, once it is one."""
    head, embeddings = tensors.get("lm_head"), tensors.get("tok_embeddings")
    if not tied and head is None:
        raise CheckpointError(
            f"{source}: tensor lm_head.weight is missing, and tie_word_embeddings is not true "
            "in its config"
        )
    if not tied or head is None or embeddings is None:
        return tensors
    if not same_values(head, embeddings):
        raise CheckpointError(
            f"{source}: tie_word_embeddings is true, but lm_head.weight differs from "
            "model.embed_tokens.weight; if the file is right, set it to false in config.json"
        )
    return {name: tensor for name, tensor in tensors.items() if name != "lm_head"}


def check_dtypes(source: Path, tensors: Mapping[str, StoredTensor]) -> None:
    """Raise CheckpointError for weights that are whole numbers, or floats of a byte or less."""
    for name, tensor in tensors.items():
        if tensor.dtype not in ARRAYS:
            raise CheckpointError(
                f"{source}: tensor {hf_name(name)} is {tensor.dtype}; weights are "
                f"{', '.join(ARRAYS)}"
            )


def checkpoint_from_hf_tensors(
    source: Path, format_name: str, raw_config: Any, tensors: Mapping[str, StoredTensor]
) -> Checkpoint:
    """A Checkpoint from a parsed config.json and tensors under Hugging Face's names."""
    config_file = source / CONFIG if source.is_dir() else source.parent / CONFIG
    config = config_from_hf(raw_config, str(config_file))
    ours = drop_tied_head(source, config.tied_head, by_our_names(source, tensors))
    check_tensors(source, config, ours)
    check_dtypes(source, ours)
    return Checkpoint(source, format_name, config, ours, rope_layout="half-split")


def read_json(path: Path, most: int, error: type[CheckpointError] | type[ConfigError]) -> Any:
    """A JSON file of at most `most` bytes, strictly."""
    return parse_json(read_small(path, most, error), str(path), error)


def shard_of(tensor: str, shard: object, index: Path, suffix: str) -> str:
    """The file name of a shard, or CheckpointError unless it can only be in the index's directory.

    The file itself may be a link elsewhere: the hub's cache is made of such links.
    """
    name = shard if isinstance(shard, str) else ""
    if not name.endswith(suffix) or not name.isprintable() or set(name) & set("/\\:"):
        raise CheckpointError(
            f"{index}: weight_map puts {shown(tensor)} in {shown(shard)}, "
            f"which is not the name of a {suffix} file beside it"
        )
    return name


def read_index(index: Path, suffix: str) -> dict[str, str]:
    """Which shard each tensor is in. `metadata.total_size` is ignored: it is often wrong."""
    raw = read_json(index, MAX_INDEX, CheckpointError)
    weight_map = raw.get("weight_map") if isinstance(raw, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(
            f"{index}: weight_map must be a table of tensors, not {shown(weight_map)}"
        )
    return {name: shard_of(name, shard, index, suffix) for name, shard in weight_map.items()}


def read_shards(index: Path, suffix: str, read_file: ReadFile) -> dict[str, StoredTensor]:
    """The tensors of all shards. Each must have what the index says, and nothing else."""
    directory = index.parent
    weight_map = read_index(index, suffix)
    tensors: dict[str, StoredTensor] = {}
    for shard in sorted(set(weight_map.values())):
        for name, tensor in read_file(directory / shard).items():
            if weight_map.get(name) == shard:
                tensors[name] = tensor
            elif not is_buffer(name):
                listed = weight_map.get(name, "no file")
                raise CheckpointError(
                    f"{directory / shard}: has tensor {shown(name)}, "
                    f"which {index.name} says is in {listed}"
                )
    for name, shard in weight_map.items():
        if name not in tensors:
            raise CheckpointError(
                f"{directory / shard}: lacks tensor {shown(name)}, which {index.name} says is in it"
            )
    return tensors


def read_tensors(directory: Path) -> dict[str, StoredTensor]:
    """The tensors under Hugging Face's names, from the single file or from the shards."""
    single, sharded = (directory / SINGLE).exists(), (directory / INDEX).exists()
    if single and sharded:
        raise CheckpointError(
            f"{directory}: has both {SINGLE} and {INDEX}; remove the one that is out of date"
        )
    if sharded:
        return read_shards(directory / INDEX, ".safetensors", read_file)
    if single:
        return read_file(directory / SINGLE)
    raise CheckpointError(f"{directory}: has neither {SINGLE} nor {INDEX}")


def recognises(path: Path) -> bool:
    """Whether a path is a directory with config.json and safetensors."""
    has_weights = (path / SINGLE).exists() or (path / INDEX).exists()
    return has_weights and (path / "config.json").is_file()


def read(path: Path) -> Checkpoint:
    """Open a directory. Only config.json, the index and the headers are read."""
    raw_config = read_json(path / CONFIG, MAX_CONFIG, ConfigError)
    return checkpoint_from_hf_tensors(
        path, "Hugging Face safetensors", raw_config, read_tensors(path)
    )
