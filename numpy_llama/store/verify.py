"""What a server of the hub says is checked before it names a file, and what it sent afterwards.

The hub's own package names files by the ETag and the commit of an answer. A hostile server, or a
mirror, could so write outside the cache: each answer passes `check_answer` first.
"""

import hashlib
import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, LlamaError
from ..formats.storage.files import open_regular
from ..formats.storage.strict_json import shown
from .hub_cache import COMMIT

HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # of a git blob, or sha256
CHUNK = 1 << 20


@dataclass(frozen=True)
class Listed:
    """A file of a model, as the hub lists it."""

    size: int
    hash: str  # "" where it does not say


def odd(what: str) -> InputError:
    """A server said something that the hub does not say."""
    return InputError(f"this is no answer that the hub gives: {what}; check HF_ENDPOINT")


def check_answer(response: Any) -> None:
    """Raise InputError for an answer whose ETag or commit must not name a file."""
    commit = response.headers.get("x-repo-commit")
    if commit is not None:
        if not COMMIT.fullmatch(commit):
            raise odd(f"its commit is {shown(commit)}")
        etag = response.headers.get("x-linked-etag") or response.headers.get("etag") or ""
        if response.request.method == "HEAD" and etag:
            name = etag.lstrip("W/").strip('"')  # as the hub's package does
            if not HASH.fullmatch(name):
                raise odd(f"its ETag is {shown(etag)}")
    elif response.status_code == 200 and "/api/models/" in response.request.url.path:
        response.read()
        answer = response.json()
        if isinstance(answer, dict) and not COMMIT.fullmatch(str(answer.get("sha"))):
            raise odd(f"its commit is {shown(answer.get('sha'))}")


@contextmanager
def guarded() -> Iterator[None]:
    """Let every answer pass `check_answer`, and say of odd ones in a sentence that they are."""
    http = importlib.import_module("huggingface_hub.utils._http")
    before = http._GLOBAL_CLIENT_FACTORY  # there is no public way to ask for it

    def client() -> Any:
        made = before()
        hooks = made.event_hooks
        made.event_hooks = hooks | {"response": [*hooks.get("response", []), check_answer]}
        return made

    http.set_client_factory(client)
    try:
        yield
    except LlamaError:
        raise
    except (LookupError, TypeError, AttributeError, AssertionError, RecursionError) as error:
        raise odd(f"{type(error).__name__} {str(error)[:100]}") from None
    finally:
        http.set_client_factory(before)


def listed(info: Any) -> dict[str, Listed]:
    """The files of a model by their names. Raises InputError for a list that is none."""
    if not COMMIT.fullmatch(str(info.sha)):
        raise odd(f"its commit is {shown(info.sha)}")
    found = {}
    for each in info.siblings or []:
        size, lfs = each.size or 0, each.lfs
        value = (lfs.sha256 if lfs else each.blob_id) or ""
        if not isinstance(each.rfilename, str) or type(size) is not int or size < 0:
            raise odd(f"it lists {shown(each.rfilename)} with the size {shown(size)}")
        if not isinstance(value, str) or value and not HASH.fullmatch(value):
            raise odd(f"it lists {shown(each.rfilename)} with the hash {shown(value)}")
        found[each.rfilename] = Listed(size, value)
    return found


def hash_of(path: Path, like: str) -> str:
    """The sha256 of a file, or what git calls it, whichever is as long as `like`."""
    with open_regular(path, InputError) as file:
        if len(like) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        while chunk := file.read(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()


def check_fetched(snapshot: Path, files: Sequence[str], expected: Mapping[str, Listed]) -> None:
    """Raise InputError unless each file is inside the cache and what was listed.

    What is not is removed, so that the next pull fetches it again.
    """
    cache = snapshot.parents[2].resolve()  # of CACHE/models--ORG--NAME/snapshots/COMMIT
    for name in files:
        path = snapshot / name
        blob = path.resolve()
        if cache not in blob.parents:
            path.unlink()
            raise InputError(f"{path}: leads out of the hub's cache, to {blob}; it was removed")
        wanted = expected[name].hash or (blob.name if HASH.fullmatch(blob.name) else "")
        if not wanted:
            raise InputError(f"{path}: the server does not say what its sha256 is; not used")
        if (got := hash_of(path, wanted)) != wanted:
            path.unlink()
            blob.unlink(missing_ok=True)
            kind = "sha256" if len(wanted) == 64 else "git hash"
            raise InputError(
                f"{name}: its {kind} is {got}, not {wanted}: it is not what the hub lists, and was "
                "removed; the same command fetches it again"
            )
