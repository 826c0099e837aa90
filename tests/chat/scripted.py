"""A real tiny model that is told what to say: it computes, and its head is overruled."""

from collections.abc import Iterable

import numpy as np

from numpy_llama.config import LlamaConfig
from numpy_llama.model import Llama
from tests.models import random_weights, tiny_config


class Scripted(Llama):
    """Says the tokens of its script, one a forward. `fed` has the number of tokens of each."""

    def __init__(self, config: LlamaConfig):
        super().__init__(config, random_weights(config))
        object.__setattr__(self, "script", [])
        object.__setattr__(self, "fed", [])
        object.__setattr__(self, "seen_logits", [])

    def say(self, *tokens: Iterable[int]) -> None:
        """What the next answer is, its end included."""
        self.script[:] = [token for part in tokens for token in part]
        self.fed.clear()

    def forward(self, tokens, cache=None, **options):
        logits = super().forward(tokens, cache, **options)
        self.fed.append(len(tokens))
        self.seen_logits.append(logits[-1])
        token = self.script.pop(0)
        if token == INTERRUPT:
            raise KeyboardInterrupt
        return np.eye(1, self.config.vocab_size, token)


INTERRUPT = -1  # in a script: Ctrl-C


def scripted(vocab_size: int) -> Scripted:
    return Scripted(tiny_config(vocab_size=vocab_size, max_context=256))
