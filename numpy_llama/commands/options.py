"""Options and habits that several commands share."""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices import DEVICES, DTYPES, MOST_POSITIONS
from ..errors import InputError, LlamaError
from ..loading.threads import set_threads, suit
from .progress import Passing
from .streams import read_prompt as read_prompt  # with the options, for the commands

if TYPE_CHECKING:
    from ..completion import Options
    from ..text import TextModel

Command = Callable[..., Any]


def check_positions(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    """A context that no array could have is a slip of the hand."""
    if value is not None and value > MOST_POSITIONS:
        raise click.BadParameter(f"{value} is more than {MOST_POSITIONS:,} positions")
    return value


def suit_threads(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """One thread for a small model; what is wrong with the model is said when it is opened."""
    from ..store.find import find_model

    with contextlib.suppress(LlamaError, OSError):
        suit(find_model(value))
    return value


model_option = click.option(
    "-m",
    "--model",
    envvar="LLAMA_NP_MODEL",
    callback=suit_threads,
    metavar="MODEL",
    help="A Hugging Face directory, a GGUF file, the name of a model in weights/, or ORG/NAME of "
    "one in the cache of the Hugging Face Hub. "
    "Default: $LLAMA_NP_MODEL, else the model in weights/.",
)
dtype_option = click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="float32",
    show_default=True,
    help="Precision of the computation. float64 is the reference.",
)
device_option = click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="cpu",
    show_default=True,
    help="Where to compute; cuda needs CuPy: pip install 'cupy-cuda12x[ctk]'.",
)
stream_option = click.option(
    "--stream/--no-stream",
    default=None,
    help="Leave the weights in the file and expand each when it is used: slower, in less memory, "
    "with the same result but for rounding. Default: where they would not fit in free memory.",
)
context_option = click.option(
    "-c",
    "--context",
    type=click.IntRange(min=1),
    callback=check_positions,
    metavar="N",
    help="Positions in the KV cache. Default: what is needed, up to the model's own context.",
)

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


def threads_callback(ctx: click.Context, param: click.Parameter, value: int | None) -> None:
    """Before NumPy is imported, which reads the number once."""
    if value is not None:
        set_threads(value)


threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    is_eager=True,
    expose_value=False,
    callback=threads_callback,
    help="Threads of the linear algebra. Default: one for each core; one for a small model.",
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


allow_option = click.option(
    "--allow",
    multiple=True,
    metavar="CHOICE",
    help="A choice that is meant, such as kv-float16: then it passes. May be given several times.",
)


def parse_ids(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int] | None:
    """Token ids as people write them: 1,2,3 or 1 2 3."""
    if value is None:
        return None
    try:
        return [int(part) for part in value.replace(",", " ").split()]
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of whole numbers like 1,2,3") from None


def load_text(
    model: str | Path | None, dtype: str, device: str, stream: bool | None, **more: Any
) -> "TextModel":
    """The model that -m, --dtype, --device and --stream ask for, with its tokenizer.

    more: as TextModel takes it. Where it is streamed without --stream, that is said.
    """
    from ..loading.memory import keep_freed_memory
    from ..loading.open import open_llama
    from ..store.find import find_model
    from ..text import TextModel

    def say(line: str) -> None:
        print(f"{line} (--no-stream loads them all the same)", file=sys.stderr)

    keep_freed_memory()
    path = find_model(model)
    with Passing("loading the model") as progress:
        llama = open_llama(path, dtype, device, stream, say, progress)
    return TextModel(llama, path, **more)


def text_options(max_tokens: int, stop: tuple[str, ...] = (), **options: Any) -> "Options":
    """The options of a text, as the command line has them: -n -1 is without end."""
    from ..completion import Options

    if "" in stop:
        raise click.UsageError("--stop needs a text: the empty one is found everywhere")
    try:
        return Options(max_tokens=max_tokens if max_tokens >= 0 else None, stop=stop, **options)
    except InputError as error:  # a value out of range
        raise click.UsageError(str(error)) from None
