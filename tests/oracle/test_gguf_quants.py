"""Every quantised type, through our reader, equals what the `gguf` package makes of the blocks.

Not marked as oracle: `gguf` is there in every test run, and this is fast.
"""

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from numpy_llama.formats.gguf.read import NOT_WEIGHTS, read
from numpy_llama.loading.weights import load_weights
from numpy_llama.model import Llama
from tests.gguf_files import Tensor, gguf_bytes, llama_metadata, llama_tensors, write_llama
from tests.models import random_tensors, random_tokens, tiny_config, weights_of

BLOCKED = [t for t, (values, _) in GGML_QUANT_SIZES.items() if values > 1]


CONFIG = tiny_config(n_layers=1, dim=512)


def dequantisable(kind: GGMLQuantizationType) -> bool:
    """Whether the installed `gguf` can expand a type: it says so only by trying."""
    zeros = np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8)
    try:
        gguf.quants.dequantize(zeros, kind)
    except NotImplementedError:
        return False
    return True


EXPANDED = [kind for kind in BLOCKED if dequantisable(kind)]


def random_blocks(kind: GGMLQuantizationType, rows: int, row: int) -> np.ndarray:
    """Any bytes are valid blocks; the few of which the scale is not finite are made zeros."""
    values, nbytes = GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(int(kind))
    blocks = rng.integers(0, 256, (rows * row // values, nbytes), np.uint8)
    with np.errstate(all="ignore"):
        bad = ~np.isfinite(gguf.quants.dequantize(blocks, kind)).all(axis=1)
    blocks[bad] = 0
    assert bad.mean() < 0.2
    return blocks.reshape(rows, -1)


def test_the_types_that_are_refused_are_those_that_gguf_cannot_expand() -> None:
    refused = {kind.name for kind in BLOCKED if kind not in EXPANDED}
    assert refused == NOT_WEIGHTS - {"I8", "I16", "I32", "I64"}


@pytest.mark.parametrize("kind", EXPANDED, ids=lambda kind: kind.name)
def test_blocks_are_expanded_as_gguf_does(
    kind: GGMLQuantizationType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also some rows at a time: 7 do not divide 61."""
    shape = (CONFIG.vocab_size, CONFIG.dim)
    blocks = random_blocks(kind, *shape)
    tensors = llama_tensors(random_tensors(CONFIG))
    assert tensors[0].name == "token_embd.weight"
    tensors[0] = Tensor(tensors[0].name, shape, int(kind), blocks.tobytes())
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf_bytes(llama_metadata(CONFIG), tensors))

    by_gguf = next(t for t in gguf.GGUFReader(path).tensors if t.name == "token_embd.weight")
    expected = gguf.quants.dequantize(by_gguf.data, kind)
    assert len(np.unique(expected)) > 3, "the blocks must say something"

    stored = read(path).tensors["tok_embeddings"]
    monkeypatch.setattr("numpy_llama.formats.gguf.read.EXPAND_AT_ONCE", 7 * CONFIG.dim)
    values = stored.load()
    assert stored.dtype == kind.name and stored.nbytes == blocks.nbytes
    assert values.dtype == np.float32 and values.shape == shape
    assert np.array_equal(values, expected)


@pytest.mark.parametrize("type_name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4"])
def test_a_quantised_model_has_the_logits_of_its_expanded_weights(
    type_name: str, tmp_path: Path
) -> None:
    """Float64 logits, from weights that were rounded by `gguf.quants` without a file between."""
    config = tiny_config(dim=32, hidden_dim=64, head_dim=16)
    arrays = random_tensors(config)
    kind = GGMLQuantizationType[type_name]
    rounded = {
        name: gguf.quants.dequantize(gguf.quants.quantize(array.astype(np.float32), kind), kind)
        if array.ndim > 1
        else array.astype(np.float32)
        for name, array in arrays.items()
    }
    exact = {name: array.astype(np.float64) for name, array in rounded.items()}
    tokens = random_tokens(config, 9)
    expected = Llama(config, weights_of(config, exact)).forward(tokens)
    checkpoint = read(write_llama(tmp_path / "x.gguf", config, arrays, type_name))
    assert checkpoint.tensors["layers.0.wq"].dtype == type_name
    logits = Llama(config, load_weights(checkpoint, "float64")).forward(tokens)
    assert np.abs(logits - expected).max() <= 1e-12 * np.abs(expected).max()
