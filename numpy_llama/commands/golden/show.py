"""llama-np golden show: what a golden is of."""

from pathlib import Path

import click

from ..options.help import Command
from .shared import golden_argument


@click.command(cls=Command)
@golden_argument
@click.option("--json", "as_json", is_flag=True, help="golden.json itself.")
def show(golden: Path, as_json: bool) -> None:
    """What GOLDEN is of, how it was measured, and which faults it cannot see."""
    from ...golden import load
    from ...golden.record.disk import JSON
    from ...golden.record.show import describe

    bundle = load(golden)
    print((golden / JSON).read_text(encoding="utf-8").rstrip() if as_json else describe(bundle))
