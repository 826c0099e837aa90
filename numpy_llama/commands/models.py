"""llama-np models: what is here, what can be had, and how large it is."""

import json
import shutil
from typing import Any

import click

from .options.help import Command


def about_models() -> dict[str, Any]:
    """Everything that `models` prints, as plain values."""
    from ..store.find import local_models, models_dir, size_of, sources
    from ..store.hub_cache import cached_models

    here = [
        {"name": name, "path": str(models_dir() / name), "bytes": size_of(models_dir() / name)}
        for name in local_models()
    ]
    cached = [
        {"name": name, "path": str(path), "bytes": size_of(path)}
        for name, path in cached_models().items()
    ]
    there = [
        {"name": each.name, "title": each.title, "license": each.license, "bytes": each.size}
        for each in sources().values()
    ]
    return {"directory": str(models_dir()), "here": here, "cached": cached, "can_be_had": there}


def table(about: dict[str, Any]) -> list[str]:
    """The same for people."""
    from ..store.hub import size_text

    def row(name: str, size: int, what: str) -> str:
        return f"  {name:<{width}}  {size_text(size):>9}  {what}"

    everything = [*about["here"], *about["cached"], *about["can_be_had"]]
    width = max(len(each["name"]) for each in everything)
    mine = [row(each["name"], each["bytes"], "") for each in about["here"]] or ["  none"]
    lines = [f"here, in {about['directory']}:", *mine]
    if about["cached"]:
        lines += ["in the cache of the Hugging Face Hub:"]
        lines += [row(each["name"], each["bytes"], "") for each in about["cached"]]
    lines += ["to be had with `llama-np pull NAME`:"]
    for each in about["can_be_had"]:
        what = f"{each['title']} ({each['license']})"
        lines += [row(each["name"], each["bytes"], what)]
    return [line.rstrip() for line in lines]


def remove(name: str, yes: bool) -> None:
    """Delete a model of `weights/`, once the user has said so."""
    from ..errors import InputError
    from ..store.find import local_models, models_dir, size_of
    from ..store.hub import size_text
    from ..store.hub_cache import is_hub_name
    from ..wording import did_you_mean

    names = local_models()
    if is_hub_name(name):
        raise InputError(
            f"{name} is in the hub's cache, which other programs share: `hf cache` removes it"
        )
    if name not in names:
        there = ", ".join(names) or "none"
        raise InputError(
            f"no model here is called {name!r}{did_you_mean(name, names)}: there are {there}"
        )
    path = models_dir() / name
    if not yes:
        click.confirm(f"Remove {path}, {size_text(size_of(path))}?", abort=True, err=True)
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)
    click.echo(f"removed {path}", err=True)


@click.command(cls=Command)
@click.option("--remove", "removed", metavar="NAME", help="Delete this model; asks before.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="The list as JSON, sizes in bytes.")
def models(removed: str | None, yes: bool, as_json: bool) -> None:
    """The models that are here, and those that `pull` can get by name.

    Sizes are what is on the disk, and what is downloaded.
    """
    if removed is not None:
        remove(removed, yes)
        return
    about = about_models()
    print(json.dumps(about, indent=2, ensure_ascii=False) if as_json else "\n".join(table(about)))
