"""llama-np pull: get a model by name."""

import click

from .progress import progress_bar


@click.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Get it again if it is there already.")
def pull(name: str, force: bool) -> None:
    """Download the model NAME, verify it, and convert it into weights/.

    Names are listed in weights/sources.toml.
    """
    from ..pull import pull as pull_model

    def say(line: str) -> None:
        click.echo(line, err=True)

    with progress_bar("converting") as progress:
        target = pull_model(name, force, say, progress)
    click.echo(target)
