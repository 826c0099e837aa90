"""The command line: one click command a file, each thin: parse, call the library, print.

stdout is the product; everything else goes to stderr. Nothing here imports NumPy before the
options are read, so that --help is quick and --threads can take effect.
"""

import sys
from typing import Any

import click

from .batch import batch
from .chat.chat import chat
from .convert import convert
from .generate import generate
from .golden import golden
from .info import info
from .learn import learn
from .logits import logits
from .models import models
from .pull import pull
from .score import score
from .terminal.errors import one_sentence
from .terminal.harmless import harmless_streams
from .tokenize import tokenize
from .trace import trace

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended


class Commands(click.Group):
    """A group whose commands end in one sentence, not a traceback, on a user's errors."""

    def main(self, *args: Any, **options: Any) -> Any:
        with harmless_streams():
            return super().main(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with one_sentence():
                return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            ctx.exit(INTERRUPTED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="numpy-llama", prog_name="llama-np")
def main() -> None:
    """Run, inspect and convert Llama models in plain NumPy.

    \b
    llama-np pull smollm2-135m             get a small real model
    llama-np generate "Once upon a time"   continue a text
    llama-np chat                          converse
    llama-np info smollm2-135m             what a model is, and what it needs
    llama-np golden check GOLDEN DUMP      whether another Llama is right
    llama-np learn start my-llama          write a Llama yourself, and have it checked
    """


for command in (
    generate, chat, batch, logits, score, tokenize, trace, learn, info, convert, pull, models,
    golden,
):  # fmt: skip
    main.add_command(command)

if __name__ == "__main__":
    sys.exit(main())
