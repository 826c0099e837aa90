"""Threads of our own: all is done once, in order where one waits for another, and ends."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from numpy_llama.choices import THREAD_VARIABLES
from numpy_llama.loading import parallel
from numpy_llama.loading.parallel import in_parallel, pool

ROOT = Path(__file__).parents[1]


def test_results_come_in_order_and_the_first_is_this_thread_s():
    here = threading.get_ident()
    found = in_parallel(lambda i: (i, threading.get_ident() == here), 3)
    assert [i for i, _ in found] == [0, 1, 2] and found[0][1] and not found[1][1]
    assert in_parallel(lambda i: i, 1) == [0]


def test_the_blas_has_one_thread_meanwhile_and_all_of_them_again():
    """Where it is known to have one already, and without threadpoolctl, nothing is done."""
    code = """
import sys
import numpy
from threadpoolctl import threadpool_info
from numpy_llama.loading import parallel

def threads():
    return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]

assert threads() == [2], threads()
try:
    with parallel.a_blas_of_one():
        assert threads() == [1], threads()
        raise KeyboardInterrupt
except KeyboardInterrupt:
    assert threads() == [2], threads()
parallel.limits.cache_clear()
sys.modules["threadpoolctl"] = None
with parallel.a_blas_of_one():
    assert threads() == [2]
"""
    settings = os.environ | dict.fromkeys(THREAD_VARIABLES, "2")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=settings)
    assert done.returncode == 0


def test_the_context_of_numpy_goes_along():
    def divide(i: int) -> float:
        return float((np.ones(1) / np.zeros(1))[0])

    with np.errstate(divide="ignore"):
        assert in_parallel(divide, 2) == [np.inf, np.inf]
    with pytest.raises(FloatingPointError), np.errstate(divide="raise"):
        in_parallel(lambda i: divide(i) if i else 0.0, 2)


@pytest.mark.parametrize("wrong", [0, 1])
def test_an_error_is_raised_when_all_have_ended(wrong: int):
    done = []

    def work(i: int) -> None:
        if i == wrong:
            raise MemoryError
        time.sleep(0.1)
        done.append(i)

    with pytest.raises(MemoryError):
        in_parallel(work, 2)
    assert done == [1 - wrong]


INTERRUPTED = """
import os, signal, threading, time
from numpy_llama.loading.parallel import in_parallel
signal.signal(signal.SIGINT, signal.default_int_handler)  # where it was ignored from the start
done = []

def work(i):
    if i == 1:
        time.sleep(0.5)
        done.append(i)

threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    in_parallel(work, 2)
except KeyboardInterrupt:
    print("interrupted", done)
"""


def test_ctrl_c_waits_for_who_still_writes():
    """Else what they write would meet what comes next."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, cwd=ROOT)
    assert done.stdout.split() == [b"interrupted", b"[1]"], done.stderr


def test_where_the_system_gives_no_thread_one_does_all_in_order(monkeypatch):
    def submit(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool(os.getpid()), "submit", submit)
    order: list[int] = []
    in_parallel(order.append, 4)
    assert order == [0, 1, 2, 3]


def test_each_process_has_its_own_threads():
    here = parallel.pool(os.getpid())
    assert parallel.pool(os.getpid()) is here
    assert parallel.pool(-1) is not here
