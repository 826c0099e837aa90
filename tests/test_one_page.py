"""docs/llama_on_one_page.py: a page, alone with NumPy, and the same model as the package."""

import ast
import math
import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docs.learn.figures.costs import SMOLLM2
from numpy_llama.config import LlamaConfig
from numpy_llama.formats.checkpoint import expected_shapes, layer_shapes
from numpy_llama.golden.kit.cases import CASES, Case
from numpy_llama.model import Llama
from tests.models import random_tokens, weights_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "llama_on_one_page.py"
llama = runpy.run_path(str(PAGE))["llama"]


def page(config: LlamaConfig, tensors: Mapping[str, np.ndarray], tokens: list[int]) -> np.ndarray:
    """The logits of the page, for the tensors of a checkpoint by our names."""
    layers = [
        {name: tensors[f"layers.{i}.{name}"] for name in layer_shapes(config)}
        for i in range(config.n_layers)
    ]
    head = tensors["tok_embeddings" if config.tied_head else "lm_head"]
    weights = dict(tensors) | {"layers": layers, "lm_head": head}
    heads = (config.n_heads, config.n_kv_heads)
    return llama(tokens, weights, *heads, config.rope_theta, config.norm_eps)


def relative(config: LlamaConfig, tensors: Mapping[str, np.ndarray], tokens: list[int]) -> float:
    """The largest difference of the page's logits from the package's, over the largest logit."""
    ours = Llama(config, weights_of(config, tensors)).forward(tokens)
    return float(np.abs(page(config, tensors, tokens) - ours).max() / np.abs(ours).max())


def plain(cases: tuple[Case, ...]) -> list[Any]:
    """The cases that the page can compute."""
    return [
        pytest.param(case, id=case.name)
        for case in cases
        if case.config.rope_scaling.type == "default"
        and not case.config.attention_bias
        and not case.config.mlp_bias
    ]


@pytest.mark.parametrize("case", plain(CASES))
def test_the_page_is_the_model_on_the_kit(case: Case) -> None:
    tensors = {name: array.astype(np.float64) for name, array in case.tensors().items()}
    tokens = list(case.tokens[:600])  # it holds L × L scores: all 4,100 would be gigabytes
    assert relative(case.config, tensors, tokens) <= 1e-10


def windows(config: LlamaConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Random tensors of a large model: each another window of the same random numbers."""
    rng = np.random.default_rng(0)
    pool = rng.normal(0, 1 / math.sqrt(config.dim), config.vocab_size * config.dim + 100_000)
    for name, shape in expected_shapes(config):
        start = int(rng.integers(100_000))
        if name.endswith("norm"):
            yield name, rng.uniform(0.5, 1.5, shape)
        else:
            yield name, pool[start : start + math.prod(shape)].reshape(shape)


def test_the_page_is_the_model_in_smollm2_s_shape() -> None:
    assert relative(SMOLLM2, dict(windows(SMOLLM2)), random_tokens(SMOLLM2, 12)) <= 1e-10


def test_most_of_the_kit_is_tried() -> None:
    assert len(plain(CASES)) >= 10


def test_it_is_a_page_of_functions_that_needs_nothing_but_numpy() -> None:
    lines = PAGE.read_text().splitlines()
    assert len(lines) <= 70 and max(map(len, lines)) <= 88
    tree = ast.parse(PAGE.read_text())
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(n) for n in imports] == ["import numpy as np"]
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
