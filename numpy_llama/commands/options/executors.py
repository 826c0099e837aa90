"""Where the work of a command may go: the workers of a Dask scheduler, as an executor."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from concurrent.futures import Executor

PATIENCE = 10  # seconds until a scheduler has answered

dask_option = click.option(
    "--dask", metavar="ADDRESS", help="Use the workers of this Dask scheduler, and no --jobs."
)


@contextmanager
def dask_executor(address: str | None) -> Iterator["Executor | None"]:
    """The workers of a Dask scheduler as an executor."""
    if address is None:
        yield None
        return
    from ...errors import InputError, MissingExtraError

    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise MissingExtraError("distributed", "--dask") from error
    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"--dask {address}: no scheduler answers there: {reason}") from None
    with client:
        yield client.get_executor(pure=False)
