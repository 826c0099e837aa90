"""Options about a text: how it begins, how its tokens are picked, and where it ends."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ...errors import InputError

if TYPE_CHECKING:
    from ...completion import Options

Command = Callable[..., Any]

system_option = click.option(
    "-s",
    "--system",
    "--system-prompt",
    "system",
    metavar="TEXT",
    help="The system message: what the model is told before the conversation.",
)
chat_template_option = click.option(
    "--chat-template",
    metavar="FILE",
    help="A Jinja file, or llama2, llama3, chatml or zephyr, in place of the model's own template.",
)


def several(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Some options as one decorator; --help lists them in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


sampling_options = several(
    click.option(
        "--temp",
        "--temperature",
        "temperature",
        type=float,
        default=0.0,
        show_default=True,
        help="0 takes the likeliest token; 1 draws from the model's distribution.",
    ),
    click.option(
        "--top-k",
        type=int,
        default=0,
        show_default=True,
        help="Draw from the K likeliest tokens only; 0: from all.",
    ),
    click.option(
        "--top-p",
        type=float,
        default=1.0,
        show_default=True,
        help="Draw from the likeliest tokens that together have probability P.",
    ),
    click.option(
        "--min-p",
        type=float,
        default=0.0,
        show_default=True,
        help="Leave out tokens less than P times as likely as the likeliest.",
    ),
    click.option(
        "--repeat-penalty",
        type=float,
        default=1.0,
        show_default=True,
        help="Above 1 makes tokens that were already there less likely.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        metavar="N",
        help="Of the draws; the same seed gives the same text. Default: a new one.",
    ),
)


def parse_ids(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int] | None:
    """Token ids as people write them: 1,2,3 or 1 2 3."""
    if value is None:
        return None
    try:
        return [int(part) for part in value.replace(",", " ").split()]
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of whole numbers like 1,2,3") from None


def text_options(max_tokens: int, stop: tuple[str, ...] = (), **options: Any) -> "Options":
    """The options of a text, as the command line has them: -n -1 is without end."""
    from ...completion import Options

    if "" in stop:
        raise click.UsageError("--stop needs a text: the empty one is found everywhere")
    try:
        return Options(max_tokens=max_tokens if max_tokens >= 0 else None, stop=stop, **options)
    except InputError as error:  # a value out of range
        raise click.UsageError(str(error)) from None
