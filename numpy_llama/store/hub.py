"""Models of the Hugging Face Hub: what to fetch of one, and fetching it into the hub's own cache.

Fetching is `huggingface_hub`'s, the extra [hub].
"""

import glob
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingExtraError
from .hub_cache import PART, model_in

# No *.bin and no *.pth, which hold the same weights again, nor consolidated.safetensors, likewise.
WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
SETTINGS = {
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
}
UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def size_text(size: int) -> str:
    """1234567 -> "1.2 MB"."""
    unit, name = next((each for each in UNITS if size >= each[0]), (1, "B"))
    return f"{size / unit:.1f} {name}" if unit > 1 else f"{size} B"


def wanted(name: str, listed: Sequence[str], file: str | None = None) -> list[str]:
    """Of the files of a model, those to fetch: settings and safetensors, or one GGUF.

    Raises InputError, with what there is, where the model has none of them.
    """
    ggufs = [each for each in listed if each.endswith(".gguf")]
    if file is not None:
        if file not in ggufs or ".." in Path(file).parts or Path(file).is_absolute():
            there = ", ".join(ggufs[:20]) or "none"
            raise InputError(f"{name} has no GGUF file {file!r}; it has {there}")
        part = PART.fullmatch(file)
        return [each for each in ggufs if each == file or same_model(part, PART.fullmatch(each))]
    weights = [each for each in listed if WEIGHTS.fullmatch(each)]
    if not weights and ggufs:
        raise InputError(f"{name} has GGUF files: name one with --file: {', '.join(ggufs[:20])}")
    if not weights or "config.json" not in listed:
        raise InputError(
            f"{name} has no config.json with a model.safetensors, and no GGUF file: "
            "nothing that can be used is there"
        )
    return sorted([each for each in listed if each in SETTINGS] + weights)


def same_model(part: re.Match[str] | None, other: re.Match[str] | None) -> bool:
    """Whether two names are parts of one model."""
    return part is not None and other is not None and part.groups() == other.groups()


def in_order(files: Sequence[str]) -> list[list[str]]:
    """What is fetched first, and then the file that a model is told by: who finds it, finds all."""
    gguf_parts = [each for each in files if PART.fullmatch(each) and "-00001-of-" in each]
    last = [each for each in files if each == "config.json" or each in gguf_parts]
    return [part for part in ([each for each in files if each not in last], last) if part]


def reason(name: str, revision: str, error: Exception) -> str:
    """What went wrong at the hub, as a sentence."""
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return (
                f"{name} asks for its terms to be accepted, at https://huggingface.co/{name}, "
                "and for a token: `hf auth login`"
            )
        case errors.RepositoryNotFoundError():
            return f"the hub has no model {name}, or it is private: check the name"
        case errors.RevisionNotFoundError():
            return f"{name} has no revision {revision!r}"
    first = (str(error).strip().splitlines() or [""])[0]
    return (
        f"{name} could not be fetched: {first[:300] or type(error).__name__}; "
        "the same command goes on from where it ended"
    )


def pull(
    name: str,
    revision: str = "main",
    file: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    endpoint: str | None = None,
    cache: Path | None = None,
) -> Path:
    """Fetch a model into the hub's cache; return the path that `-m` would find.

    file: one GGUF file, in place of config, tokenizer and safetensors. `say` is told beforehand
    what comes and how large it is. What was fetched before is not fetched again,
    and all of it is compared with the hashes that are listed.
    Raises InputError where that cannot be, MissingExtraError without huggingface_hub.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise MissingExtraError("huggingface_hub", f"pulling {name}") from None
    from .verify import check_fetched, guarded, listed  # these load NumPy: a look-up does not

    try:
        with guarded():
            info = huggingface_hub.HfApi(endpoint=endpoint).model_info(
                name, revision=revision, files_metadata=True
            )
            there = listed(info)
            files = wanted(name, list(there), file)
            sizes = {each: there[each].size for each in files}
            announce(name, f"{revision}, {str(info.sha)[:8]}", sizes, say)
            for part in in_order(files):
                snapshot = fetch(huggingface_hub, name, revision, part, endpoint, cache)
                check_fetched(snapshot, part, there)
            sweep(snapshot)
    except (
        huggingface_hub.errors.HTTPError,  # type: ignore[attr-defined]
        OSError,
        ValueError,
    ) as error:
        raise InputError(reason(name, revision, error)) from None
    return model_in(snapshot, file)


def announce(name: str, at: str, sizes: dict[str, int], say: Callable[[str], None]) -> None:
    """Say which files come, and how large they are."""
    say(f"{name} ({at}): {size_text(sum(sizes.values()))}")
    for each, size in sizes.items():
        say(f"  {each}  {size_text(size)}")


def sweep(snapshot: Path) -> None:
    """Remove what a killed run left of files that are whole by now; nobody goes on with it."""
    blobs = snapshot.parent.parent / "blobs"
    for left in blobs.glob("*.incomplete"):
        if (blobs / left.name.partition(".")[0]).exists():
            left.unlink(missing_ok=True)


def fetch(
    library: Any,
    name: str,
    revision: str,
    files: Sequence[str],
    endpoint: str | None,
    cache: Path | None,
) -> Path:
    """Let the library fetch these files, and no others; returns their directory."""
    if not sys.stderr.isatty():
        library.utils.disable_progress_bars()
    return Path(
        library.snapshot_download(
            name,
            revision=revision,
            allow_patterns=[glob.escape(each) for each in files],
            endpoint=endpoint,
            cache_dir=cache,
        )
    )
