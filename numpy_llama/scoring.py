"""How likely a model finds a text, also one longer than its context; and what may come next."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError
from .sampling import Sampling, log_probabilities, next_token_probabilities
from .text import Prompt, TextModel
from .tokenizers import Tokenizer


@dataclass(frozen=True)
class Score:
    """The log-probability of each token of a text but the first, which has none before it."""

    ids: list[int]  # (L,)
    logprobs: np.ndarray  # (L - 1,), natural, float64: item i is of token i + 1
    context: int  # positions that the model saw at most
    stride: int  # by which its window moved on

    @property
    def sum(self) -> float:
        """The log-probability of the whole text after its first token."""
        return math.fsum(self.logprobs)

    @property
    def perplexity(self) -> float:
        """exp(-mean log p): among how many equally likely tokens the model would choose."""
        mean = self.sum / len(self.logprobs)
        return math.exp(-mean) if -mean < 709 else math.inf


def windows(n: int, context: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Begin, first scored and end of each window over n tokens.

    Each but the first scores only what is new in it: after `context - stride` tokens at least.
    """
    begin, scored = 0, 1
    while scored < n:
        end = min(begin + context, n)
        yield begin, scored, end
        begin, scored = begin + stride, end


def score(
    m: TextModel,
    prompt: Prompt,
    context: int | None = None,
    stride: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Score:
    """The log-probabilities of a text, or of ids, of any length.

    context: positions of a window; None: the model's own. stride: by which it moves on, and what
    is computed twice is smaller the larger it is; None: half the context.
    Raises InputError for a text of one token, and for a stride that leaves no token before one.
    """
    ids = m.ids_of(prompt)
    if len(ids) < 2:
        raise InputError(f"a text of {len(ids)} tokens has none that follows another: write more")
    context = context or m.llama.config.max_context
    stride = stride or max(context // 2, 1)
    if not 1 <= stride < context:
        raise InputError(f"the stride must be from 1 to {context - 1}, less than the context")
    found = []
    for begin, first, end in windows(len(ids), context, stride):
        progress(begin, len(ids))
        found.append(m.logprobs(ids[begin:end], context)[first - begin - 1 :])
    return Score(ids, np.concatenate(found), context, stride)


def likeliest(row: np.ndarray, tokenizer: Tokenizer, top: int) -> list[dict[str, Any]]:
    """The likeliest next tokens as plain values, best first. row: (V,) logits, on the host."""
    probabilities = next_token_probabilities(row, Sampling(temperature=1.0))
    order = np.argsort(-probabilities, kind="stable")[:top].tolist()
    first = log_probabilities(row[None], order[:1])[0]
    return [
        {
            "id": token,
            # A model may have more rows than there are pieces: they pad its matrices.
            "piece": tokenizer.pieces([token])[0] if token < tokenizer.vocab_size else "",
            "logit": float(row[token]),
            "logprob": float(first + (float(row[token]) - float(row[order[0]]))),
            "probability": float(probabilities[token]),
        }
        for token in order
    ]
