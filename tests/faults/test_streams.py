"""A streamed model in forked processes and in threads: the same logits, and no run that hangs."""

import os
import signal
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from numpy_llama.formats import open_checkpoint
from numpy_llama.formats.convert import convert
from numpy_llama.loading.weights import model_of
from numpy_llama.model import Llama
from tests.models import random_tensors, random_tokens, tiny_config
from tests.tiny import checkpoint_of

CONFIG = tiny_config()
TOKENS = random_tokens(CONFIG, 9)


@pytest.fixture
def streamed(tmp_path: Path) -> Llama:
    """A model whose layers stay in their file, which has run once."""
    tensors = random_tensors(CONFIG, dtype=np.float32)
    convert(checkpoint_of(CONFIG, tensors), tmp_path / "model", "bf16")
    model = model_of(open_checkpoint(tmp_path / "model"), stream=True)
    model.forward(TOKENS)
    return model


def fork() -> int:
    with warnings.catch_warnings():  # Python 3.12 warns of forks with threads, which this is about
        warnings.simplefilter("ignore")
        return os.fork()


def ended_well(child: int, seconds: float) -> bool:
    """Whether a child ends with 0 in time; it is killed otherwise."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_after_a_streamed_run_runs_too(streamed: Llama) -> None:
    """The thread that reads ahead is not in the child."""
    expected = streamed.forward(TOKENS)
    child = fork()
    if child == 0:
        same = np.array_equal(streamed.forward(TOKENS), expected)
        os._exit(0 if same else 1)
    assert ended_well(child, 30)
    assert np.array_equal(streamed.forward(TOKENS), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_while_a_lock_is_held_runs_too(streamed: Llama) -> None:
    """As when the thread that reads ahead takes memory at that moment."""
    expected = streamed.forward(TOKENS)
    for scratch in streamed.weights.layers.ahead.scratch:  # type: ignore[attr-defined]
        scratch.lock.acquire()
    child = fork()
    if child == 0:
        same = np.array_equal(streamed.forward(TOKENS), expected)
        os._exit(0 if same else 1)
    assert ended_well(child, 30)


def test_threads_share_a_streamed_model(streamed: Llama) -> None:
    prompts = [random_tokens(CONFIG, 9, seed) for seed in range(6)]
    expected = [streamed.forward(tokens) for tokens in prompts]
    wrong: list[int] = []

    def work(n: int) -> None:
        for _ in range(5):
            if not np.array_equal(streamed.forward(prompts[n]), expected[n]):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_without_another_thread_it_reads_when_it_is_asked(
    streamed: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = streamed.forward(TOKENS)

    def submit(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(streamed.weights.layers.ahead.worker, "submit", submit)  # type: ignore
    assert np.array_equal(streamed.forward(TOKENS), expected)
