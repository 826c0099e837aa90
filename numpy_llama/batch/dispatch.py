"""Requests over an Executor, or together in this process: the answers in order, or as they come."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from ..choices import THREAD_VARIABLES
from ..errors import InputError
from ..formats import open_checkpoint
from ..loading.open import Say, too_large, warn
from ..loading.threads import OWN, cores, set_threads
from ..model import Llama
from ..store.find import find_model
from ..text import TextModel, load
from .answers import Answer, answer, as_request
from .requests import Request
from .ride import ride_together

S = TypeVar("S")
T = TypeVar("T")
TOGETHER = 16  # that ride on one pass over a streamed model's file


@dataclass(frozen=True)
class Setup:
    """The model of a batch, as every worker opens it: a path, and how it is computed."""

    path: str
    dtype: str = "float32"
    stream: bool = False
    chat_template: str | None = None


@lru_cache(maxsize=1)
def opened(setup: Setup) -> TextModel:
    """The model of this process: opened once, for all requests that come here."""
    return load(
        setup.path, dtype=setup.dtype, stream=setup.stream, chat_template=setup.chat_template
    )


def answer_alone(setup: Setup, request: Request) -> Answer:
    """The task of a worker: one request."""
    return answer(opened(setup), request)


def answer_together(
    setup: Setup, requests: Sequence[tuple[int, Request]], most: int
) -> Iterator[tuple[int, Answer]]:
    """(number, answer) of each, `most` of them at a time in one pass over the weights."""
    m = opened(setup)
    _ = m.tokenizer  # read once, before there are threads

    def work(rider: Llama, numbered: tuple[int, Request]) -> tuple[int, Answer]:
        number, request = numbered
        own = TextModel(rider, m.path, m.tokenizer, m.chat_template)
        return number, answer(own, request)

    return (found for _, found in ride_together(m.llama, work, requests, most))


@contextmanager
def threads_of_children(n: int | None) -> Iterator[None]:
    """How many threads the linear algebra has in processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in (*THREAD_VARIABLES, OWN)}
    if n is not None:
        set_threads(n)
        os.environ.pop(OWN, None)  # a process for itself is a share already
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def processes(jobs: int, threads: int | None) -> Iterator[Executor]:
    """Fresh processes, each of `threads` threads (None: as many as a process has by itself)."""
    with (
        threads_of_children(threads),
        ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool,
    ):
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def submitted(
    executor: Executor,
    task: Callable[[S, T], Answer],
    setup: S,
    requests: Iterable[tuple[int, T]],
) -> Iterator[tuple[int, Answer]]:
    """(number, answer) of each task, as they come from an executor's workers.

    What has not begun is cancelled when nobody wants it any more.
    """
    futures = {executor.submit(task, setup, request): number for number, request in requests}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool:
        raise InputError(
            "a worker process was ended from outside, perhaps for want of memory: what was done "
            "is kept; with fewer --jobs, the same command goes on from there"
        ) from None
    finally:
        for future in futures:
            future.cancel()


def answers_of(
    setup: Setup,
    requests: Sequence[tuple[int, Request]],
    executor: Executor | None = None,
    jobs: int | None = None,
    together: int | None = None,
) -> Iterator[tuple[int, Answer]]:
    """(number, answer) of each request, as they come. The arguments are those of `run`."""
    if together is None:
        together = TOGETHER if setup.stream and jobs is None else 1
    if jobs is None:
        jobs = 1 if setup.stream else cores()
    if executor is not None:
        yield from submitted(executor, answer_alone, setup, requests)
    elif together > 1:
        yield from answer_together(setup, requests, together)
    elif jobs == 1 or len(requests) == 1:
        yield from ((number, answer_alone(setup, request)) for number, request in requests)
    elif requests:
        with processes(min(jobs, len(requests)), max(1, cores() // jobs)) as pool:
            yield from submitted(pool, answer_alone, setup, requests)


def plan(
    model: str | Path | None, dtype: str, stream: bool | None, chat_template: str | None, say: Say
) -> Setup:
    """How every worker will open the model: streamed where one copy of it would not fit."""
    path = find_model(model).resolve()
    if stream is None:
        stream = too_large(open_checkpoint(path).config, dtype, say)
    return Setup(str(path), dtype, stream, chat_template)


def in_order(answers: Iterable[tuple[int, Answer]], first: int = 0) -> Iterator[Answer]:
    """Each answer as soon as all before it are there."""
    early: dict[int, Answer] = {}
    for number, found in answers:
        early[number] = found
        while first in early:
            yield early.pop(first)
            first += 1


def run(
    model_path: str | Path | None,
    requests: Iterable[Request | dict[str, Any]],
    executor: Executor | None = None,
    *,
    dtype: str = "float32",
    stream: bool | None = None,
    chat_template: str | None = None,
    jobs: int | None = None,
    together: int | None = None,
    ordered: bool = True,
    say: Say = warn,
) -> Iterator[Answer]:
    """The answers to many requests: dicts with the id, and what was asked for or an `error`.

        for a in run("smollm2-135m", [{"prompt": "Once upon a time", "max_tokens": 20}]):
            print(a["text"])

    requests: Request, or its fields as a dict: see `parse_request`. executor: any of
    concurrent.futures, Dask's or mpi4py's; its workers open `model_path` themselves. None: `jobs`
    processes, one for each core, whose threads share the cores; but in this process, `together` at
    a time on one pass over the file, where the model is streamed. ordered: as they were asked for,
    not as they come. Raises InputError for what is no request, and what `load` raises.
    """
    asked = [as_request(item, number) for number, item in enumerate(requests)]
    setup = plan(model_path, dtype, stream, chat_template, say)
    answers = answers_of(setup, list(enumerate(asked)), executor, jobs, together)
    return in_order(answers) if ordered else (found for _, found in answers)
