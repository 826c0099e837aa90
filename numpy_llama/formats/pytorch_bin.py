"""Old Hugging Face directories: config.json, and pytorch_model.bin or its shards with an index.

Names and config are those of huggingface.py; the files are those of torch_zip.py.
"""

from pathlib import Path

from ..errors import CheckpointError, ConfigError
from .checkpoint import Checkpoint, StoredTensor
from .huggingface import CONFIG, MAX_CONFIG, MAX_INDEX, checkpoint_from_hf_tensors, read_json
from .strict_json import shown
from .torch_zip import read_tensors as read_file

SINGLE = "pytorch_model.bin"
INDEX = "pytorch_model.bin.index.json"


def read_index(index: Path) -> dict[str, str]:
    """Which shard each tensor is in; a shard is a file beside the index, never elsewhere."""
    raw = read_json(index, MAX_INDEX, CheckpointError)
    weight_map = raw.get("weight_map") if isinstance(raw, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(
            f"{index}: weight_map must be a table of tensors, not {shown(weight_map)}"
        )
    for tensor, shard in weight_map.items():
        name = shard if isinstance(shard, str) else ""
        if not name.endswith(".bin") or not name.isprintable() or set(name) & set("/\\:"):
            raise CheckpointError(
                f"{index}: weight_map puts {shown(tensor)} in {shown(shard)}, "
                "which is not the name of a .bin file beside it"
            )
    return weight_map


def read_shards(directory: Path) -> dict[str, StoredTensor]:
    """The tensors of all shards. Each must have what the index says, and nothing else."""
    weight_map = read_index(directory / INDEX)
    tensors: dict[str, StoredTensor] = {}
    for shard in sorted(set(weight_map.values())):
        found = read_file(directory / shard)
        listed = {name for name, place in weight_map.items() if place == shard}
        if found.keys() != listed:
            name = min(found.keys() ^ listed)
            has, says = ("has", "not") if name in found else ("does not have", "there")
            raise CheckpointError(
                f"{directory / shard}: {has} tensor {shown(name)}, which {INDEX} says is {says}"
            )
        tensors |= found
    return tensors


def recognises(path: Path) -> bool:
    """Whether a path is a directory with config.json and PyTorch's weights."""
    has_weights = (path / SINGLE).is_file() or (path / INDEX).is_file()
    return has_weights and (path / CONFIG).is_file()


def read(path: Path) -> Checkpoint:
    """Open a directory. Only config.json, the index and what names the tensors are read."""
    raw_config = read_json(path / CONFIG, MAX_CONFIG, ConfigError)
    sharded = (path / INDEX).exists()
    if sharded and (path / SINGLE).exists():
        raise CheckpointError(
            f"{path}: has both {SINGLE} and {INDEX}; remove the one that is out of date"
        )
    tensors = read_shards(path) if sharded else read_file(path / SINGLE)
    return checkpoint_from_hf_tensors(path, "Hugging Face PyTorch", raw_config, tensors)
