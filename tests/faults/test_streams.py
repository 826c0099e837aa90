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
from numpy_llama.loading import parallel, streamed_matrix
from numpy_llama.loading.threads import OWN
from numpy_llama.loading.weights import model_of
from numpy_llama.model import Llama
from tests.models import random_tensors, random_tokens, tiny_config
from tests.tiny import checkpoint_of

CONFIG = tiny_config(hidden_dim=3 * 2**14)  # its matrices are more than one block of 2^18
TOKENS = random_tokens(CONFIG, 9)


@pytest.fixture
def streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Llama:
    """A model whose layers stay in their file, which has run once, with two threads."""
    monkeypatch.setenv(OWN, "2")
    monkeypatch.setattr(streamed_matrix, "BLOCK", 1 << 18)
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
    """The threads that share a product are not in the child."""
    expected = streamed.forward(TOKENS)
    child = fork()
    if child == 0:
        same = np.array_equal(streamed.forward(TOKENS), expected)
        os._exit(0 if same else 1)
    assert ended_well(child, 30)
    assert np.array_equal(streamed.forward(TOKENS), expected)


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


def test_without_another_thread_one_does_all(
    streamed: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = streamed.forward(TOKENS)

    refused = []

    def submit(*args: object) -> None:
        refused.append(args)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(parallel.pool(os.getpid()), "submit", submit)
    assert np.array_equal(streamed.forward(TOKENS), expected)
    assert refused


def test_a_model_that_is_replaced_while_it_is_streamed_stays_what_it_was(tmp_path: Path) -> None:
    """Whoever has mapped the earlier file keeps it."""
    old, new = (checkpoint_of(CONFIG, random_tensors(CONFIG, seed, np.float32)) for seed in (0, 1))
    convert(old, tmp_path / "model")
    model = model_of(open_checkpoint(tmp_path / "model"), stream=True)
    before = model.forward(TOKENS)
    convert(new, tmp_path / "model", force=True)
    assert np.array_equal(model.forward(TOKENS), before)
    after = model_of(open_checkpoint(tmp_path / "model"), stream=True).forward(TOKENS)
    assert not np.array_equal(after, before)
