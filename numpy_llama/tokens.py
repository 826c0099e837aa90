"""The check of the token ids that a model is given."""

from collections.abc import Sequence

import numpy as np

from .backend import Array
from .config import LlamaConfig
from .errors import InputError

Tokens = Sequence[int] | Array


def check_tokens(tokens: Tokens, config: LlamaConfig) -> Array:
    """The ids as a host array (L,). On a GPU an id out of range would wrap without a word.

    Raises InputError for no tokens, what is no whole number, and an id outside the vocabulary.
    """
    ids = np.asarray(tokens)
    V = config.vocab_size
    if ids.ndim != 1 or ids.size == 0 or ids.dtype.kind not in "iu":
        raise InputError("tokens must be a sequence of at least one whole number")
    if ids.min() < 0 or ids.max() >= V:
        wrong = next(i for i in ids.tolist() if not 0 <= i < V)
        raise InputError(f"token id {wrong} is outside the vocabulary of {V} (0 … {V - 1})")
    return ids
