"""The fingerprint of a model: one hash of all its weights."""

import dataclasses
import hashlib
from collections.abc import Iterator

import numpy as np

from ...model import Llama


def named_arrays(model: Llama) -> Iterator[tuple[str, np.ndarray]]:
    """Every weight by its name; a tied head is not named twice."""
    weights = model.weights
    yield "tok_embeddings", weights.tok_embeddings
    for i, layer in enumerate(weights.layers):
        for field in dataclasses.fields(layer):
            array = getattr(layer, field.name)
            if array is not None:
                yield f"layers.{i}.{field.name}", array
    yield "final_norm", weights.final_norm
    if not model.config.tied_head:
        yield "lm_head", weights.lm_head


def weights_sha256(model: Llama) -> str:
    """One hash of all weights as float32 in our layout: the same whatever file they came from."""
    digest = hashlib.sha256()
    for name, array in named_arrays(model):
        digest.update(f"{name} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array, "<f4").data)
    return digest.hexdigest()
