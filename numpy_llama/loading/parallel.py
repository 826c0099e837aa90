"""Threads of our own, each with a BLAS of one: see threads.py for how many.

OpenBLAS's threads wait for each other by spinning. Where another process wants the processor too,
each such wait may take a whole slice of its time, and a product a hundred times as long. Ours
sleep; and what stands between the products is shared as well.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache
from typing import Any, TypeVar

from .threads import asked_for, own_threads

T = TypeVar("T")


@cache
def pool(process: int) -> ThreadPoolExecutor:
    """The threads of this process: a forked child has none of its parent's."""
    return ThreadPoolExecutor(max(1, own_threads() - 1))


@cache
def limits() -> Any:
    """What sets the BLAS's threads of a running program; None without threadpoolctl."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()


@contextmanager
def a_blas_of_one() -> Iterator[None]:
    """Meanwhile the BLAS has one thread, if it can be told so: the others are ours."""
    if asked_for() == 1 or limits() is None:
        yield
        return
    with limits().limit(limits=1, user_api="blas"):
        yield


def ended(others: Iterable["Future[Any]"]) -> None:
    """Wait until they are, even for Ctrl-C: what they write to is used again."""
    interrupted = None
    while True:
        try:
            wait(others)
        except KeyboardInterrupt as error:
            interrupted = error
        else:
            break
    if interrupted is not None:
        raise interrupted


def in_parallel(work: Callable[[int], T], n: int) -> list[T]:
    """work(0), …, work(n - 1): the first in this thread, each other in one of the pool.

    One may wait for those of lower numbers, which begin before it. Returns when all have ended,
    and raises what the first of them raised.
    """
    others: dict[int, Future[T]] = {}
    for i in range(1, n):
        try:
            others[i] = pool(os.getpid()).submit(copy_context().run, work, i)
        except RuntimeError:  # the system gives no thread: then one after the other
            break
    try:
        first = work(0)
    finally:
        ended(others.values())
    return [first] + [others[i].result() if i in others else work(i) for i in range(1, n)]
