"""Old Hugging Face directories: config.json, and pytorch_model.bin or its shards with an index.

Names and config are those of huggingface.py; the files are those of torch_zip.py.
"""

from pathlib import Path

from ...errors import CheckpointError, ConfigError
from ..checkpoint import Checkpoint
from ..huggingface.read import (
    CONFIG,
    MAX_CONFIG,
    checkpoint_from_hf_tensors,
    read_json,
    read_shards,
)
from .read import read_tensors as read_file

SINGLE = "pytorch_model.bin"
INDEX = "pytorch_model.bin.index.json"


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
    tensors = read_shards(path / INDEX, ".bin", read_file) if sharded else read_file(path / SINGLE)
    return checkpoint_from_hf_tensors(path, "Hugging Face PyTorch", raw_config, tensors)
