"""The models of the course: cases of the conformance kit, small enough to run in milliseconds."""

import numpy as np

from ..golden.kit.cases import CASES, Case
from ..model import Llama
from ..parameters import LayerWeights, Weights


def case_named(name: str) -> Case:
    """A case of the kit."""
    return next(case for case in CASES if case.name == name)


def model_of(case: Case, dtype: str = "float32") -> Llama:
    """Our model, with the weights of a case."""
    tensors = {name: array.astype(dtype) for name, array in case.tensors().items()}
    layers: list[dict[str, np.ndarray]] = [{} for _ in range(case.config.n_layers)]
    for name, array in tensors.items():
        if name.startswith("layers."):
            _, i, part = name.split(".")
            layers[int(i)][part] = array
    embeddings = tensors["tok_embeddings"]
    weights = Weights(
        embeddings,
        tuple(LayerWeights(**arrays) for arrays in layers),
        tensors["final_norm"],
        tensors.get("lm_head", embeddings),
    )
    return Llama(case.config, weights)
