"""Options about the model, and the model that they ask for."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...choices import DEVICES, DTYPES, MOST_POSITIONS
from ...errors import LlamaError
from ...loading.threads import set_threads, suit
from ..terminal.progress import Passing

if TYPE_CHECKING:
    from ...text import TextModel

DOES = {"logits": "reads", "score": "reads", "generate": "makes", "chat": "makes"}  # a text


def check_positions(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    """A context that no array could have is a slip of the hand."""
    if value is not None and value > MOST_POSITIONS:
        raise click.BadParameter(f"{value} is more than {MOST_POSITIONS:,} positions")
    return value


def suit_threads(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Those that suit a model; what is wrong with it is said when it is opened."""
    from ...store.find import find_model

    asked = [ctx.params.get(name) for name in ("dtype", "device", "stream")]
    resident = asked[:2] == ["float32", "cpu"] and asked[2] is not True
    with contextlib.suppress(LlamaError, OSError):
        suit(find_model(value), DOES.get(ctx.info_name or "", "") if resident else "")
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
    is_eager=True,
    show_default=True,
    help="Precision of the computation. float64 is the reference.",
)
device_option = click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="cpu",
    is_eager=True,
    show_default=True,
    help="Where to compute; cuda needs CuPy: pip install 'cupy-cuda12x[ctk]'.",
)
stream_option = click.option(
    "--stream/--no-stream",
    default=None,
    is_eager=True,
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


def load_text(
    model: str | Path | None, dtype: str, device: str, stream: bool | None, **more: Any
) -> "TextModel":
    """The model that -m, --dtype, --device and --stream ask for, with its tokenizer.

    more: as TextModel takes it. Where it is streamed without --stream, that is said.
    """
    from ...loading.memory import keep_freed_memory
    from ...loading.open import open_llama
    from ...store.find import find_model
    from ...text import TextModel

    def say(line: str) -> None:
        print(f"{line} (--no-stream loads them all the same)", file=sys.stderr)

    keep_freed_memory()
    path = find_model(model)
    with Passing("loading the model") as progress:
        llama = open_llama(path, dtype, device, stream, say, progress)
    return TextModel(llama, path, **more)
