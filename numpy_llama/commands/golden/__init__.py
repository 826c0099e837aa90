"""llama-np golden: record what a correct model gives, and judge what another one gave."""

import click

from .check import check
from .diff import diff
from .export import export, header
from .kit import kit
from .record import record
from .run import run
from .show import show


@click.group()
def golden() -> None:
    """Golden outputs: record, check, and name the bug.

    \b
    llama-np golden record -m MODEL -p "Once upon a time" -o once
    llama-np golden check once DUMP        exit 0 passed, 1 diverged, 3 incomplete, 4 a choice
    """


for command in (show, export, check, header, record, kit, run, diff):
    golden.add_command(command)
