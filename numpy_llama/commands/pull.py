"""llama-np pull: get a model by name."""

from pathlib import Path

import click

from .models import about_models, table
from .options.help import Command
from .terminal.progress import progress_bar


def say(line: str) -> None:
    """Tell the user something that is not the product."""
    click.echo(line, err=True)


@click.command(cls=Command)
@click.argument("name", required=False)
@click.option("--force", is_flag=True, help="Get it again if it is in weights/ already.")
@click.option(
    "--revision",
    default="main",
    show_default=True,
    metavar="R",
    help="Of a model of the hub: a branch, a tag or a commit.",
)
@click.option("--file", metavar="NAME.gguf", help="Of a model of the hub: this GGUF file, alone.")
@click.option(
    "--offline",
    is_flag=True,
    envvar="HF_HUB_OFFLINE",
    help="Ask nobody: print where a model of the hub is, if it was pulled before.",
)
def pull(name: str | None, force: bool, revision: str, file: str | None, offline: bool) -> None:
    """Get the model NAME, and print where it is; without NAME, list what there is.

    \b
    NAME       one of weights/sources.toml: downloaded, verified, converted into weights/
    ORG/NAME   a model of the Hugging Face Hub, into the hub's own cache; needs huggingface_hub
    """
    from ..store.hub_cache import is_hub_name

    if name is None:
        print("\n".join(table(about_models())))
        return
    if is_hub_name(name):
        if force:
            raise click.UsageError("--force is for models of weights/sources.toml")
        click.echo(pull_from_hub(name, revision, file, offline))
        return
    if file is not None or revision != "main" or offline:
        raise click.UsageError("--file, --revision and --offline are for ORG/NAME of the hub")

    from ..store.pull import pull as pull_model

    with (
        progress_bar("downloading", once=True) as downloading,
        progress_bar("converting") as progress,
    ):
        target = pull_model(name, force, say, progress, downloading)
    click.echo(target)


def pull_from_hub(name: str, revision: str, file: str | None, offline: bool) -> Path:
    """Fetch a model of the hub, or only look for it in the cache."""
    from ..errors import InputError
    from ..store.hub import pull
    from ..store.hub_cache import cache_dir, find_cached

    if not offline:
        return pull(name, revision, file, say)
    if (path := find_cached(name, revision, file)) is None:
        raise InputError(f"{name} ({revision}) is not in the hub's cache, {cache_dir()}")
    return path
