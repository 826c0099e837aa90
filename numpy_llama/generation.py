"""Generation: prefill once, then decode. Yields tokens, and text, as they come."""

from collections.abc import Collection, Generator, Iterable, Sequence
from typing import Literal, Protocol

import numpy as np

from .backend import to_host
from .errors import InputError, NumericError
from .kv_cache import KVCache
from .model import Llama
from .sampling import GREEDY, Sampling, sample
from .taps import Tap, no_tap

# Why a text ended: the model (or a stop text) ended it; all tokens that were asked for are there;
# the KV cache is full.
FinishReason = Literal["stop", "length", "context"]


class StreamDecoder(Protocol):
    """What turns ids into text as they come; see tokenizers/streaming.py."""

    def push(self, token: int) -> str: ...
    def finish(self) -> str: ...


def check_context(prompt: int, context: int) -> None:
    """Raise InputError unless there is a prompt, and it fits the context (in tokens, both)."""
    if prompt == 0:
        raise InputError("the prompt is empty: give at least one token")
    if prompt > context:
        raise InputError(
            f"the prompt has {prompt} tokens and the context only {context}: "
            "shorten the prompt, or ask for a larger context"
        )


def first_not_finite(model: Llama, tokens: Sequence[int]) -> str:
    """The name of the first tap that is not finite when `tokens` are run, or "" if all are."""
    found: list[str] = []

    def look(name: str, array: np.ndarray) -> None:
        if not found and not np.isfinite(to_host(array)).all():
            found.append(name)

    with np.errstate(all="ignore"):
        model.forward(tokens, tap=look)
    return found[0] if found else ""


def check_finite(model: Llama, tokens: Sequence[int], logits: np.ndarray) -> None:
    """Raise NumericError, which names the first bad tap, unless all `logits` (host) are finite."""
    if not np.isfinite(logits).all():
        where = first_not_finite(model, tokens) or "logits"
        raise NumericError(f"the logits are not finite: the first bad value is in {where}")


def generate(
    model: Llama,
    prompt: Sequence[int],
    max_tokens: int,
    settings: Sampling = GREEDY,
    seed: int = 0,
    stop_ids: Collection[int] = (),
    cache: KVCache | None = None,
    before: Sequence[int] = (),
    tap: Tap = no_tap,
) -> Generator[int, None, FinishReason]:
    """Yield the tokens that follow `prompt`, each as soon as it is known; return why it ended.

    Ends after `max_tokens`, before a token of `stop_ids`, or when the cache is full; at first use
    `cache` may already hold tokens that precede the prompt: those of `before`, which are seen by
    the repetition penalty, and not fed again. Default: a cache just large enough. `tap` is shown
    every forward, the prefill first: see recording.py.
    Raises InputError for a prompt that does not fit, NumericError when a logit is not finite.
    """
    if cache is None:
        cache = model.new_cache(min(len(prompt) + max_tokens, model.config.max_context))
    check_context(len(prompt), cache.capacity - cache.length)
    rng = np.random.default_rng(seed)
    sequence = [*before, *prompt]
    fed = list(prompt)  # first the whole prompt, then each token by itself
    for _ in range(max_tokens):
        if cache.length == cache.capacity:
            return "context"
        # Who looks at the taps sees every row; else one row of logits is enough.
        rows = model.forward(fed, cache, tap=tap, last_only=tap is no_tap)
        logits = to_host(rows[-1])
        check_finite(model, sequence, logits)
        token = sample(logits, settings, rng, seen=sequence)
        if token in stop_ids:
            return "stop"
        yield token
        sequence.append(token)
        fed = [token]
    return "length"


def text_of(
    tokens: Iterable[int], decoder: StreamDecoder, stops: Sequence[str] = ()
) -> Generator[str, None, bool]:
    """Yield text as tokens come, and end before the first of the strings `stops`.

    What could still become a stop string is held back until it cannot. `decoder` holds back
    incomplete characters by itself. Returns whether one of `stops` ended the text.
    """
    held = ""
    for token in tokens:
        held += decoder.push(token)
        found = [held.find(stop) for stop in stops if stop in held]
        if found:
            yield held[: min(found)]
            return True
        keep = max((overlap(held, stop) for stop in stops), default=0)
        if len(held) > keep:
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
    held += decoder.finish()
    found = [held.find(stop) for stop in stops if stop in held]
    yield held[: min(found)] if found else held
    return bool(found)


def overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` begin `stop`: "…ab" and "abc" overlap by 2."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
