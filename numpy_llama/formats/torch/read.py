"""The tensors of a file that torch.save wrote, each mapped where it lies; PyTorch is not needed.

The file is a zip archive of `{folder}/data.pkl`, which names the tensors, and one stored member
`{folder}/data/{key}` for each storage. Checksums are not verified: torch does not verify them
either, can be told to write none, and one pass over all bytes is what a map avoids.
Source: PyTorch, torch/serialization.py.
"""

import math
from pathlib import Path

import numpy as np

from ...errors import CheckpointError
from ..checkpoint import StoredTensor
from ..huggingface.safetensors import ARRAYS
from ..storage.files import check_whole, foreign_content, open_regular
from ..storage.strict_json import shown
from ..storage.zip_archive import STORED, ZIP, Archive, Member, open_archive
from .calls import View
from .pickle import read_state_dict

MAX_PICKLE = 8 << 20  # bytes; that of the largest Llama has about 0.2 MB
SAVE_AGAIN = (
    "open it with a PyTorch that you trust it to, and save it again: "
    "torch.save(torch.load(path, weights_only=True), path)"
)


def refuse_what_is_no_zip(path: Path) -> None:
    """Before PyTorch 1.6, torch.save wrote several pickles in a row, and before that a tar."""
    with open_regular(path) as file:
        start = file.read(512)
    if start.startswith((ZIP, b"PK\5\6")) or not start:
        return
    if start[:1] == b"\x80" or start[257:262] == b"ustar":
        raise CheckpointError(f"{path}: was written by a PyTorch before 1.6: {SAVE_AGAIN}")
    what = foreign_content(start) or "not a file that torch.save wrote: it is no zip archive"
    raise CheckpointError(f"{path}: is {what}")


def folder_of(archive: Archive) -> str:
    """The folder in the archive that holds data.pkl, of which there must be one."""
    found = [name for name in archive.members if name.split("/")[1:] == ["data.pkl"]]
    if len(found) != 1:
        raise CheckpointError(
            f"{archive.path}: {len(found)} members are called data.pkl, "
            "and a file of torch.save has one"
        )
    return found[0].removesuffix("data.pkl")


def stored_member(archive: Archive, name: str, most: int | None = None) -> Member:
    """A member that is there, is not compressed, and has at most `most` bytes."""
    member = archive.members.get(name)
    if member is None:
        raise CheckpointError(f"{archive.path}: the member {shown(name)} is missing")
    if member.method != STORED:
        raise CheckpointError(
            f"{archive.path}: the member {shown(name)} is compressed, and torch.save compresses "
            f"nothing; {SAVE_AGAIN}"
        )
    if most is not None and member.size > most:
        raise CheckpointError(
            f"{archive.path}: the member {shown(name)} has {member.size} bytes, more than {most}"
        )
    return member


def stored_tensor(archive: Archive, folder: str, view: View) -> StoredTensor:
    """A tensor that is a view of the mapped file: no byte is copied, whatever its strides."""
    dtype = ARRAYS[view.storage.dtype]
    member = stored_member(archive, f"{folder}data/{view.storage.key}")
    if member.size != view.storage.length * dtype.itemsize:
        raise CheckpointError(
            f"{archive.path}: the member {shown(member.name)} has {member.size} bytes, and "
            f"{view.storage.length} elements of {view.storage.dtype} are not as many"
        )
    offset = member.offset + view.offset * dtype.itemsize
    strides = tuple(stride * dtype.itemsize for stride in view.strides)
    count = math.prod(view.shape)

    def load() -> np.ndarray:
        check_whole(archive.path, archive.mapped)
        return np.ndarray(view.shape, dtype, archive.mapped, offset if count else 0, strides)

    return StoredTensor(view.shape, view.storage.dtype, count * dtype.itemsize, load)


def read_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file that torch.save(state_dict) wrote, by the names that it gives them."""
    refuse_what_is_no_zip(path)
    archive = open_archive(path)
    folder = folder_of(archive)
    byteorder = archive.members.get(f"{folder}byteorder")
    if byteorder and archive.read(byteorder, 16) != b"little":
        raise CheckpointError(
            f"{path}: was written on a big-endian machine; on this one, {SAVE_AGAIN}"
        )
    program = archive.read(stored_member(archive, f"{folder}data.pkl", MAX_PICKLE))
    views = read_state_dict(program, path)
    return {name: stored_tensor(archive, folder, view) for name, view in views.items()}
