"""What a refusal must be: one sentence of one of our types, at once, and without much memory."""

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from numpy_llama.errors import LlamaError

SECONDS = 1.0
BYTES = 64 << 20


def measured(call: Callable[[], Any]) -> Any:
    """Call twice, against the clock and then against memory; both runs must do the same."""
    start = time.perf_counter()
    outcome = outcome_of(call)
    assert time.perf_counter() - start < SECONDS
    tracemalloc.start()  # it slows Python down several times: hence the second run
    try:
        again = outcome_of(call)
        assert tracemalloc.get_traced_memory()[1] < BYTES
    finally:
        tracemalloc.stop()
    assert type(again) is type(outcome)
    return outcome


def outcome_of(call: Callable[[], Any]) -> Any:
    """What `call` returns, or the LlamaError that it raises; any other exception goes through."""
    try:
        return call()
    except LlamaError as error:
        return error


def refused(call: Callable[[], Any], *words: str) -> str:
    """`call` raises one of our errors, whose one sentence has all of `words`; returns it."""
    return sentence_of(measured(call), *words)


def check_refused(call: Callable[[], Any], error: type[LlamaError], *words: str) -> str:
    """`refused`, by exactly this type of error."""
    outcome = measured(call)
    message = sentence_of(outcome, *words)
    assert type(outcome) is error, message
    return message


def sentence_of(outcome: Any, *words: str) -> str:
    """The one sentence of an error of ours, of a decent length and with all of `words`."""
    if not isinstance(outcome, LlamaError):
        pytest.fail(f"was accepted: {str(outcome)[:200]}")
    message = str(outcome)
    assert "\n" not in message and len(message) < 600 and message.isprintable(), message
    for word in words:
        assert word in message, message
    return message


def check_accepted(call: Callable[[], Any]) -> Any:
    """`call` returns, within the same limits; its result."""
    outcome = measured(call)
    if isinstance(outcome, LlamaError):
        pytest.fail(f"was refused: {outcome}")
    return outcome
