"""Models of the Hugging Face Hub that are in its own cache, which other programs share.

What is there is found without the hub's package and without a network.
"""

import os
import re
from pathlib import Path

from ..errors import InputError

COMMIT = re.compile(r"[0-9a-f]{40}")
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
PART = re.compile(r"(.*)-\d{5}-of-(\d{5})\.gguf", re.DOTALL)


def is_hub_name(spec: str) -> bool:
    """Whether `spec` can be a model of the hub: ORG/NAME."""
    return NAME.fullmatch(spec) is not None and ".." not in spec


def cache_dir() -> Path:
    """The hub's cache, by the environment variables that its own package reads."""
    if direct := os.environ.get("HF_HUB_CACHE"):
        return Path(direct).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    return Path(home).expanduser() / "hub"


def find_snapshot(name: str, revision: str = "main", cache: Path | None = None) -> Path | None:
    """The directory of a model in the cache at a branch, tag or commit; None if it is not there."""
    model = (cache or cache_dir()) / f"models--{name.replace('/', '--')}"
    commit = revision
    if not COMMIT.fullmatch(revision):
        if ".." in revision:
            return None
        try:
            commit = (model / "refs" / revision).read_text("utf-8", errors="replace").strip()
        except (OSError, ValueError):
            return None
    snapshot = model / "snapshots" / commit
    return snapshot if COMMIT.fullmatch(commit) and snapshot.is_dir() else None


def gguf_files(snapshot: Path) -> list[Path]:
    """The GGUF files of a snapshot; of one in parts, the first."""
    found = sorted(snapshot.rglob("*.gguf"))
    return [path for path in found if not PART.fullmatch(path.name) or "-00001-of-" in path.name]


def model_in(snapshot: Path, file: str | None = None) -> Path:
    """What of a snapshot is the model: the directory, the file that was named, or its only GGUF."""
    if file is not None:
        if not (snapshot / file).is_file():
            raise InputError(f"{snapshot}: {file} is not in the hub's cache")
        return snapshot / file
    files = gguf_files(snapshot)
    if (snapshot / "config.json").is_file() or not files:
        return snapshot
    if len(files) > 1:
        raise InputError(f"which of these? name one with -m: {', '.join(map(str, files))}")
    return files[0]


def find_cached(
    name: str, revision: str = "main", file: str | None = None, cache: Path | None = None
) -> Path | None:
    """The path of a model that was pulled before, without asking anyone; None where it was not."""
    snapshot = find_snapshot(name, revision, cache)
    if snapshot is None or not ((snapshot / "config.json").is_file() or gguf_files(snapshot)):
        return None  # a pull of it was ended
    return model_in(snapshot, file)


def cached_models(cache: Path | None = None) -> dict[str, Path]:
    """The models of the hub's cache at their main revision, by ORG/NAME."""
    found = {}
    for folder in sorted((cache or cache_dir()).glob("models--*--*")):
        name = folder.name.removeprefix("models--").replace("--", "/", 1)
        snapshot = find_snapshot(name, cache=cache) if is_hub_name(name) else None
        if snapshot and ((snapshot / "config.json").is_file() or gguf_files(snapshot)):
            found[name] = snapshot
    return found
