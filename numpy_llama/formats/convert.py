"""Write any checkpoint as a Hugging Face directory: config, safetensors, the tokenizer's files.

It grows under another name beside the target and is renamed when it is whole, so that a directory
with the target's name is never half a model. What an interrupted conversion had finished is
written down in a journal, and taken up by the next run of the same command.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import CheckpointError, LlamaError
from ..rope import half_split_from_adjacent
from .checkpoint import Checkpoint, StoredTensor, expected_shapes
from .files import replacing, sync_directory
from .floats import bf16_to_f32, f16_to_f32, f32_to_bf16
from .hf_config import config_to_hf
from .huggingface import CONFIG, INDEX, SINGLE, hf_name
from .safetensors import ARRAYS, write_file

Target = Literal["keep", "f32", "f16", "bf16"]
TORCH_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
JOURNAL = "conversion.json"
HEADROOM = 1 << 24  # bytes of disk, for headers, the tokenizer and the file system itself


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
        return int(np.prod(self.shape, dtype=object)) * ARRAYS[self.dtype].itemsize


# — the tensors —


def widened(array: np.ndarray, dtype: str) -> np.ndarray:
    """A stored array as floats NumPy computes with; exact."""
    if dtype == "BF16":
        return bf16_to_f32(array)
    return f16_to_f32(array) if dtype == "F16" else array


def narrowed(x: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """Floats rounded to a stored dtype; CheckpointError where one would become infinite."""
    if dtype == "BF16":
        array = f32_to_bf16(x.astype(np.float32, copy=False))
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


def heads_of(name: str, checkpoint: Checkpoint) -> int | None:
    """How many heads a tensor's rows are grouped into, if RoPE turns what it projects to."""
    last = name.rpartition(".")[2]
    if last in ("wq", "bq"):
        return checkpoint.config.n_heads
    return checkpoint.config.n_kv_heads if last in ("wk", "bk") else None


def make_tensor(planned: Planned, checkpoint: Checkpoint) -> np.ndarray:
    """The array that is written: in the target's dtype, RoPE's pairs half-split."""
    array, stored = planned.source.load(), planned.source.dtype
    if stored != planned.dtype:
        array = narrowed(widened(array, stored), planned.dtype, planned.name)
    heads = heads_of(planned.name, checkpoint)
    if heads is not None and checkpoint.rope_layout == "adjacent":
        array = half_split_from_adjacent(array, heads)
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


def make_index(shards: Mapping[str, list[Planned]]) -> dict[str, Any]:
    """model.safetensors.index.json: which shard has which tensor."""
    where = {hf_name(planned.name): file for file, plan in shards.items() for planned in plan}
    size = sum(planned.nbytes for plan in shards.values() for planned in plan)
    return {"metadata": {"total_size": size}, "weight_map": where}


def main_dtype(plan: list[Planned]) -> str:
    """The dtype of most of the bytes, as torch calls it."""
    sizes: dict[str, int] = {}
    for planned in plan:
        sizes[planned.dtype] = sizes.get(planned.dtype, 0) + planned.nbytes
    return TORCH_NAMES[max(sizes, key=lambda dtype: sizes[dtype])]


# — the target —


def check_target(checkpoint: Checkpoint, target: Path, force: bool) -> None:
    """Raise CheckpointError if the target must not be written, or may not be replaced."""
    source, place = checkpoint.source.resolve(), target.resolve()
    if place == source or place in source.parents:
        raise CheckpointError(f"{target}: is or contains the source; choose another directory")
    if not target.exists() and not target.is_symlink():
        return
    if target.is_symlink() or not target.is_dir():
        raise CheckpointError(f"{target}: is not a directory; choose another name")
    if not any(target.iterdir()):
        return
    if not force:
        raise CheckpointError(f"{target}: exists already; replace it with --force")
    held = {file.name for file in target.iterdir()}
    if CONFIG not in held or not held & {SINGLE, INDEX}:
        raise CheckpointError(f"{target}: is not a converted model, so --force does not remove it")


def check_space(directory: Path, needed: int) -> None:
    """Raise CheckpointError if the disk has no room for `needed` bytes."""
    free = shutil.disk_usage(directory).free
    if free < needed + HEADROOM:
        raise CheckpointError(
            f"{directory}: the conversion needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        )


def file_state(path: Path) -> dict[str, list[int]]:
    """Size and time of a file, or of each file of a directory: they change when the source does."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    states = {file.name: file.stat() for file in files if file.is_file()}
    return {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()}


def make_recipe(
    checkpoint: Checkpoint, shards: Mapping[str, list[Planned]], provenance: Mapping[str, str]
) -> dict[str, Any]:
    """All that the bytes of the shards depend on. A journal with another recipe is of no use."""
    return {
        "source": str(checkpoint.source.resolve()),
        "files": file_state(checkpoint.source),
        "rope_layout": checkpoint.rope_layout,
        "provenance": dict(provenance),
        "shards": {
            file: [[p.name, p.source.dtype, p.dtype, list(p.shape)] for p in plan]
            for file, plan in shards.items()
        },
    }


def sha256_of(path: Path) -> str:
    """The sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Journal:
    """The shards that are finished, by sha256, in a file beside them."""

    def __init__(self, directory: Path, recipe: Mapping[str, Any]):
        """Take up the journal in `directory` if it has the same recipe; else begin with nothing."""
        self.path = directory / JOURNAL
        self.recipe = recipe
        self.finished: dict[str, str] = {}
        try:
            found = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            found = None
        if isinstance(found, dict) and found.get("recipe") == recipe:
            self.finished = found["finished"]
        else:
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            self.save()

    def save(self) -> None:
        """Write the journal, whole."""
        write_json(self.path, {"recipe": self.recipe, "finished": self.finished})

    def add(self, file: str, sha256: str) -> None:
        """Note that a shard is finished."""
        self.finished[file] = sha256
        self.save()

    def has(self, file: str) -> bool:
        """Whether a shard is finished, and is still what was written."""
        path = self.path.parent / file
        return file in self.finished and path.exists() and sha256_of(path) == self.finished[file]


def write_json(path: Path, value: object) -> None:
    """Write JSON, whole or not at all."""
    with replacing(path) as file:
        file.write(json.dumps(value, indent=2).encode() + b"\n")


def move_into_place(partial: Path, target: Path) -> None:
    """Give the finished directory its name; what had it is removed once the new one is there."""
    replaced = target.with_name(target.name + ".replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if target.exists():
        os.rename(target, replaced)
    os.rename(partial, target)
    (target / JOURNAL).unlink()
    sync_directory(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def write_shards(
    checkpoint: Checkpoint,
    shards: Mapping[str, list[Planned]],
    journal: Journal,
    metadata: Mapping[str, str],
    progress: Callable[[int, int], None],
) -> None:
    """Write every shard that is not finished yet, tensor by tensor."""
    total = sum(planned.nbytes for plan in shards.values() for planned in plan)
    done = 0

    def counted(planned: Planned) -> Callable[[], np.ndarray]:
        def make() -> np.ndarray:
            nonlocal done
            array = make_tensor(planned, checkpoint)
            done += planned.nbytes
            progress(done, total)
            return array

        return make

    for file, plan in shards.items():
        if journal.has(file):
            done += sum(planned.nbytes for planned in plan)
            progress(done, total)
            continue
        tensors = [(hf_name(p.name), p.dtype, p.shape, counted(p)) for p in plan]
        journal.add(file, write_file(journal.path.parent / file, tensors, metadata))


def convert(
    checkpoint: Checkpoint,
    target: Path,
    dtype: Target = "keep",
    tokenizer: Any = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    shard_size: float = 5e9,
    force: bool = False,
    provenance: Mapping[str, str] | None = None,
    extra_files: Mapping[str, bytes] | None = None,
) -> None:
    """Write `checkpoint` to the directory `target`, which appears when it is whole.

    dtype: "keep" keeps each tensor's, quantised ones become float32. progress(done, total): bytes.
    provenance: goes into each file's metadata. extra_files: written beside the weights, by name.
    Raises CheckpointError if the target exists (without `force`), is the source, the disk is too
    small, or a value does not fit the dtype.
    """
    check_target(checkpoint, target, force)
    metadata = {"format": "pt", "source_format": checkpoint.format, **(provenance or {})}
    metadata.setdefault("source", checkpoint.source.name)
    plan = plan_tensors(checkpoint, dtype)
    shards = plan_shards(plan, shard_size)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    check_space(target.parent, sum(planned.nbytes for planned in plan))
    journal = Journal(partial, make_recipe(checkpoint, shards, metadata))
    try:
        write_shards(checkpoint, shards, journal, metadata, progress)
        ids = {"bos_id": tokenizer.bos_id, "eos_ids": tokenizer.eos_ids} if tokenizer else {}
        write_json(partial / CONFIG, config_to_hf(checkpoint.config, main_dtype(plan), **ids))
        if tokenizer:
            tokenizer.save(partial)
        for name, content in (extra_files or {}).items():
            with replacing(partial / name) as file:
                file.write(content)
        if len(shards) > 1:
            write_json(partial / INDEX, make_index(shards))  # last: without it, nothing loads
    except LlamaError:  # it would fail again: nothing here is worth keeping
        shutil.rmtree(partial, ignore_errors=True)
        raise
    move_into_place(partial, target)
