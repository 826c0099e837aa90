"""Write any checkpoint as a Hugging Face directory: config, safetensors, the tokenizer's files."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..choices import Target
from ..errors import CheckpointError, LlamaError
from ..parameters import rotated_heads
from ..rope import half_split_rows
from .checkpoint import Checkpoint, StoredTensor, expected_shapes
from .huggingface.config import config_to_hf
from .huggingface.read import CONFIG, INDEX, SINGLE, hf_name
from .huggingface.safetensors import ARRAYS, write_file
from .storage.directory import GrowingDirectory, check_place
from .storage.files import write_json, writing
from .storage.floats import bf16_to_f32, f16_to_f32, f32_to_bf16, f64_to_f32_odd
from .storage.lock import locked

TORCH_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Planned:
    """One tensor of the target: what it will be, and what it is made from."""

    name: str  # ours
    dtype: str
    shape: tuple[int, ...]
    source: StoredTensor

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in the target."""
        return math.prod(self.shape) * ARRAYS[self.dtype].itemsize


# — the tensors —


def widened(array: np.ndarray, dtype: str) -> np.ndarray:
    """A stored array as floats NumPy computes with; exact."""
    if dtype == "BF16":
        return bf16_to_f32(array)
    return f16_to_f32(array) if dtype == "F16" else array


def narrowed(x: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """Floats rounded to a stored dtype; CheckpointError where one would become infinite."""
    if dtype == "BF16":
        array = f32_to_bf16(f64_to_f32_odd(x) if x.dtype == np.float64 else x)
        too_large = (array & 0x7FFF) == 0x7F80
    else:
        with np.errstate(over="ignore"):  # looked for below, and named
            array = x.astype(ARRAYS[dtype])
        too_large = np.isinf(array)
    if too_large.any() and not np.isinf(x[too_large]).all():
        count = int((too_large & np.isfinite(x)).sum())
        largest = float(np.abs(x[np.isfinite(x)]).max())
        raise CheckpointError(
            f"tensor {hf_name(name)} has {count} values too large for {TORCH_NAMES[dtype]} "
            f"(up to {largest:.6g}); convert to bf16 or f32"
        )
    return array


def make_tensor(planned: Planned, checkpoint: Checkpoint) -> np.ndarray:
    """The array that is written: in the target's dtype, RoPE's pairs half-split."""
    array, stored = planned.source.load(), planned.source.dtype
    if stored != planned.dtype:
        array = narrowed(widened(array, stored), planned.dtype, planned.name)
    heads = rotated_heads(planned.name, checkpoint.config)
    if heads and checkpoint.rope_layout == "adjacent":
        array = half_split_rows(array, heads)
    return array


# — the plan —


def plan_tensors(checkpoint: Checkpoint, dtype: Target) -> list[Planned]:
    """Every tensor of the target, in the order of a forward pass."""
    plan = []
    for name, shape in expected_shapes(checkpoint.config):
        source = checkpoint.tensors[name]
        kept = source.dtype if source.dtype in ARRAYS else "F32"  # quantised: float32 is exact
        plan.append(Planned(name, kept if dtype == "keep" else dtype.upper(), shape, source))
    return plan


def plan_shards(plan: list[Planned], shard_size: float) -> dict[str, list[Planned]]:
    """File names and what goes into each: as many tensors as fit in `shard_size` bytes."""
    shards: list[list[Planned]] = [[]]
    room = shard_size
    for planned in plan:
        if shards[-1] and planned.nbytes > room:
            shards.append([])
            room = shard_size
        shards[-1].append(planned)
        room -= planned.nbytes
    if len(shards) == 1:
        return {SINGLE: shards[0]}
    total = len(shards)
    return {f"model-{i:05}-of-{total:05}.safetensors": s for i, s in enumerate(shards, 1)}


def total_bytes(plan: list[Planned]) -> int:
    """Bytes of these tensors in the target."""
    return sum(planned.nbytes for planned in plan)


def make_index(shards: Mapping[str, list[Planned]]) -> dict[str, Any]:
    """model.safetensors.index.json: which shard has which tensor."""
    where = {hf_name(planned.name): file for file, plan in shards.items() for planned in plan}
    size = sum(total_bytes(plan) for plan in shards.values())
    return {"metadata": {"total_size": size}, "weight_map": where}


def main_dtype(plan: list[Planned]) -> str:
    """The dtype of most of the bytes, as torch calls it."""
    sizes: dict[str, int] = {}
    for planned in plan:
        sizes[planned.dtype] = sizes.get(planned.dtype, 0) + planned.nbytes
    return TORCH_NAMES[max(sizes, key=lambda dtype: sizes[dtype])]


# — the directory —


def file_states(path: Path) -> dict[str, list[int]]:
    """Size and time of a file, or of each file of a directory: they change when the source does."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    states = {file.name: file.stat() for file in files if file.is_file()}
    return {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()}


def make_recipe(
    checkpoint: Checkpoint, shards: Mapping[str, list[Planned]], metadata: Mapping[str, str]
) -> dict[str, Any]:
    """All that the bytes of the shards depend on."""
    return {
        "source": str(checkpoint.source.resolve()),
        "source_files": file_states(checkpoint.source),
        "rope_layout": checkpoint.rope_layout,
        "metadata": dict(metadata),
        "shards": {
            file: [[p.name, p.source.dtype, p.dtype, list(p.shape)] for p in plan]
            for file, plan in shards.items()
        },
    }


def write_shards(
    checkpoint: Checkpoint,
    shards: Mapping[str, list[Planned]],
    directory: GrowingDirectory,
    metadata: Mapping[str, str],
    progress: Callable[[int, int], None],
) -> None:
    """Write every shard that is not finished yet, tensor by tensor."""
    total = sum(total_bytes(plan) for plan in shards.values())
    done = 0

    def advance(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        progress(done, total)

    def make(planned: Planned) -> np.ndarray:
        array = make_tensor(planned, checkpoint)
        advance(planned.nbytes)
        return array

    for file, plan in shards.items():
        if directory.has(file):
            advance(total_bytes(plan))
        else:
            tensors = [(hf_name(p.name), p.dtype, p.shape, partial(make, p)) for p in plan]
            directory.add(file, write_file(directory.path / file, tensors, metadata))


def write_small_files(
    directory: Path,
    checkpoint: Checkpoint,
    dtype: str,
    tokenizer: Any,
    extra_files: Mapping[str, bytes],
) -> None:
    """config.json, the tokenizer's files, and what else the caller gives."""
    ids = {"bos_id": tokenizer.bos_id, "eos_ids": tokenizer.eos_ids} if tokenizer else {}
    write_json(directory / CONFIG, config_to_hf(checkpoint.config, dtype, **ids))
    if tokenizer:
        tokenizer.save(directory)
    for name, content in extra_files.items():
        with writing(directory / name) as file:
            file.write(content)


def convert(
    checkpoint: Checkpoint,
    target: str | Path,
    dtype: Target = "keep",
    tokenizer: Any = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    shard_size: float = 5e9,
    force: bool = False,
    provenance: Mapping[str, str] | None = None,
    extra_files: Mapping[str, bytes] | None = None,
) -> None:
    """Write `checkpoint` to the directory `target`, which appears when it is whole.

    dtype: "keep" keeps each tensor's; quantised ones become float32. progress(done, total): bytes.
    provenance: added to the metadata of each file. extra_files: written beside the weights.
    Raises CheckpointError if the target exists (unless `force`), is the source, the disk is too
    small, or a value does not fit the dtype. Interrupted, the same call goes on where it stopped.
    """
    target = Path(target)
    plan = plan_tensors(checkpoint, dtype)
    shards = plan_shards(plan, shard_size)
    metadata = {"format": "pt", "converted_by": "numpy_llama", "source": checkpoint.source.name}
    metadata |= {"source_format": checkpoint.format, **(provenance or {})}
    try:
        with locked(target):
            check_place(target, checkpoint.source, force, essential={SINGLE, INDEX})
            directory = GrowingDirectory(target, make_recipe(checkpoint, shards, metadata))
            directory.require_space({file: total_bytes(part) for file, part in shards.items()})
            try:
                write_small_files(
                    directory.path, checkpoint, main_dtype(plan), tokenizer, extra_files or {}
                )
                write_shards(checkpoint, shards, directory, metadata, progress)
                if len(shards) > 1:
                    write_json(directory.path / INDEX, make_index(shards))
                directory.put_in_place()
            except (LlamaError, OSError):  # it would happen again: nothing here is worth keeping
                directory.discard()
                raise
    except OSError as wrong:  # a full disk, a directory without permission
        raise CheckpointError(f"{target}: cannot be written: {wrong.strerror}") from None
