"""Run as a program: a conversion that is killed at every call that changes a file, in turn.

For n = 1, 2, …: a child process converts, and kills itself at the n-th such call. Then the target
must be absent or whole, and one more run must make it whole. Prints how many kills there were.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.errors import CheckpointError
from numpy_llama.formats.checkpoint import Checkpoint, StoredTensor
from numpy_llama.formats.convert import convert
from numpy_llama.formats.huggingface import read as huggingface
from tests.models import random_tensors, tiny_config

CALLS = ("replace", "rename", "fsync", "unlink", "mkdir", "rmdir", "chmod", "open")


def source_model(directory: Path) -> Checkpoint:
    """A tiny model whose source is a file in `directory`."""
    config = tiny_config(n_layers=1)
    (directory / "source").write_text("a source has a size and a time")
    tensors = {
        name: StoredTensor(array.shape, "F32", array.nbytes, lambda array=array: array)
        for name, array in random_tensors(config, dtype=np.float32).items()
    }
    return Checkpoint(directory / "source", "test", config, tensors, "adjacent")


def kill_at(n: int) -> None:
    """Replace the functions of `os` by ones that count down together, and kill the process at 0."""
    left = n

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def in_child(work: Callable[[], None]) -> bool:
    """Do it in a process of its own; whether it came to its end."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFEXITED(status)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a directory, but for the journal, which may outlive a kill at the very end."""
    files = {file.name: file.read_bytes() for file in directory.iterdir()}
    files.pop("journal.json", None)
    return files


def main(directory: Path, force: bool) -> None:
    """Kill, look, and finish, until a run is not killed."""
    model = source_model(directory)
    target, example = directory / "target", directory / "example"
    convert(model, example, shard_size=25_000)
    old = b"what an earlier conversion left"
    for n in range(1, 1000):
        if force:
            target.mkdir()
            (target / "model.safetensors").write_bytes(old)

        def work(n: int = n) -> None:
            kill_at(n)
            convert(model, target, shard_size=25_000, force=force)

        ended = in_child(work)
        if target.exists() and contents(target) != {"model.safetensors": old}:
            assert contents(target) == contents(example), f"half a model after kill {n}"
            huggingface.read(target)
        try:
            convert(model, target, shard_size=25_000, force=force)
        except CheckpointError as error:
            assert "exists already" in str(error)
        assert contents(target) == contents(example), f"not finished after kill {n}"
        assert sorted(os.listdir(directory)) == ["example", "source", "target"]
        shutil.rmtree(target)
        if ended:
            print(n - 1)
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), force=sys.argv[2] == "force")
