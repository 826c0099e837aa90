"""Where this machine's pip would look for packages: its environment variables and its files."""

import configparser
import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PYPI = "https://pypi.org/simple"
SECTIONS = ("global", "download")  # the second wins
TRUE = ("1", "true", "yes", "on")


@dataclass(frozen=True)
class Settings:
    """What `pip download` would be told."""

    indexes: tuple[str, ...]  # URLs of simple indexes, in the order to ask them
    links: tuple[str, ...]  # directories, or URLs of pages, with files
    cert: str | None  # a file of certificates
    proxy: str | None


def files() -> Iterator[Path]:
    """pip's files, from the whole system's to this environment's: what comes later wins."""
    name = "pip.ini" if sys.platform == "win32" else "pip.conf"
    home = Path.home()
    if sys.platform == "win32":
        yield Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData")) / "pip" / name
        yield home / "pip" / name
        yield Path(os.environ.get("APPDATA", home / "AppData" / "Roaming")) / "pip" / name
    else:
        xdg = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
        yield from (Path(each) / "pip" / name for each in reversed(xdg.split(os.pathsep)))
        yield Path("/etc") / name
        yield home / ".pip" / name
        if sys.platform == "darwin":
            yield home / "Library" / "Application Support" / "pip" / name
        yield Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / name
    yield Path(sys.prefix) / name


def from_files() -> dict[str, str]:
    """Every option of pip's files, by its long name. A file that cannot be read says nothing."""
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    chosen = os.environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return {}
    for path in [*files(), *([Path(chosen)] if chosen else [])]:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(path.read_text(encoding="utf-8", errors="replace"))
        except (OSError, configparser.Error):
            continue
        for section in SECTIONS:
            if parser.has_section(section):
                found[section].update(parser.items(section))
    options = found["global"] | found["download"]
    return {name.replace("_", "-"): value for name, value in options.items()}


def from_environment() -> dict[str, str]:
    """PIP_INDEX_URL is index-url; an empty variable says nothing."""
    named = {name[4:]: value for name, value in os.environ.items() if name.startswith("PIP_")}
    return {name.lower().replace("_", "-"): value for name, value in named.items() if value}


def read_settings() -> Settings:
    """What pip's settings say; the Python package index where they say nothing."""
    options = from_files() | from_environment()
    index = [options.get("index-url", PYPI), *options.get("extra-index-url", "").split()]
    if options.get("no-index", "").lower() in TRUE:
        index = []
    links = options.get("find-links", "")
    return Settings(
        tuple(each.rstrip("/") for each in index),
        tuple(shlex.split(links, posix=sys.platform != "win32")),
        options.get("cert"),
        options.get("proxy"),
    )
