"""Streamed weights: the same values as resident ones, and no more in memory than is said."""

import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from numpy_llama.formats import open_checkpoint
from numpy_llama.formats.convert import Target, convert
from numpy_llama.loading.memory import free_memory, human, weight_memory
from numpy_llama.loading.streamed_matrix import StreamedMatrix
from numpy_llama.loading.weights import load_weights, model_of
from numpy_llama.parameters import LayerWeights
from tests.models import random_tensors, random_tokens, tiny_config
from tests.tiny import checkpoint_of

CONFIG = tiny_config(attention_bias=True)


def write(folder: Path, dtype: Target = "bf16", **overrides: int) -> Path:
    """A directory with a random model."""
    config = dataclasses.replace(CONFIG, **overrides)
    convert(checkpoint_of(config, random_tensors(config, dtype=np.float32)), folder, dtype)
    return folder


@pytest.mark.parametrize("compute", ["float32", "float64"])
@pytest.mark.parametrize("stored", ["f32", "f16", "bf16"])
def test_streamed_logits_are_the_resident_ones(
    tmp_path: Path, stored: Target, compute: str
) -> None:
    """Bit for bit in float64; in float32 a kernel may be given another order of sums."""
    checkpoint = open_checkpoint(write(tmp_path / "model", stored))
    tokens = random_tokens(CONFIG, 9)
    resident, streamed = (model_of(checkpoint, compute, stream) for stream in (False, True))
    caches = [model.new_cache(10) for model in (resident, streamed)]
    for part in (tokens[:8], tokens[8:]):  # a prefill and a step
        logits = [m.forward(part, c) for m, c in zip((resident, streamed), caches, strict=True)]
        if compute == "float64":
            np.testing.assert_array_equal(logits[0], logits[1])
        np.testing.assert_allclose(logits[0], logits[1], rtol=1e-4, atol=1e-5)
        assert logits[1].dtype == compute


def test_a_streamed_layer_has_the_arrays_of_a_resident_one(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write(tmp_path / "model"))
    resident = load_weights(checkpoint).layers
    streamed = load_weights(checkpoint, stream=True).layers
    assert len(streamed) == len(resident) == len(list(streamed)) == len(streamed[:])
    for i in (0, 2, -1):
        for field in dataclasses.fields(LayerWeights):
            kept, expanded = (getattr(layers[i], field.name) for layers in (resident, streamed))
            assert (kept is None) is (expanded is None)
            assert kept is None or np.array_equal(kept, expanded)
    with pytest.raises(IndexError):
        streamed[3]
    with pytest.raises(AttributeError):
        _ = streamed[0].w_norm


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
@pytest.mark.parametrize("hidden_dim", [8192, 3 << 14])
def test_a_streamed_forward_holds_no_more_than_is_said(
    tmp_path: Path, dtype: Target, hidden_dim: int
) -> None:
    """A model of 100 to 350 MB as float32, whose activations are negligible."""
    config = dict(dim=512, hidden_dim=hidden_dim, n_layers=2, vocab_size=9000, attention_bias=False)
    checkpoint = open_checkpoint(write(tmp_path / "model", dtype, **config))
    need = weight_memory(checkpoint.config, halves=checkpoint.tensors)
    tracemalloc.start()
    model = model_of(checkpoint, stream=True)
    model.forward([1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert need.streamed / 3 < peak < need.streamed + (2 << 20)
    assert need.streamed < need.resident / 8


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_embeddings_stay_in_the_file_too(tmp_path: Path, dtype: str, tied: bool) -> None:
    checkpoint = open_checkpoint(write(tmp_path / "model", tied_head=tied))
    resident, streamed = (load_weights(checkpoint, dtype, stream) for stream in (False, True))
    for name in ("tok_embeddings", "lm_head"):
        table, stored = getattr(resident, name), getattr(streamed, name)
        assert isinstance(stored, StreamedMatrix) and stored.dtype == table.dtype
        for ids in ([5, 0, 5], [], slice(2, 4)):
            np.testing.assert_array_equal(stored[ids], table[ids])
        np.testing.assert_array_equal(np.asarray(stored), table)
        made = np.zeros((2, 3), stored.dtype, like=stored)
        assert type(made) is np.ndarray and made.dtype == dtype and made.shape == (2, 3)
        assert type(np.asarray([1, 2], like=stored)) is np.ndarray
        np.testing.assert_array_equal(np.zeros_like(stored), 0 * table)
        np.testing.assert_array_equal(np.concatenate([stored, stored]), [*table, *table])
        np.testing.assert_array_equal(np.sum(a=stored, axis=(0, 1)), np.sum(table, axis=(0, 1)))
    assert (streamed.lm_head is streamed.tok_embeddings) == tied


def test_two_matrices_of_a_streamed_layer_can_be_held_at_once(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write(tmp_path / "model"))
    layer = load_weights(checkpoint, stream=True).layers[1]
    gate = layer.w_gate
    before = np.array(gate)
    assert not np.array_equal(layer.w_up, gate)
    np.testing.assert_array_equal(gate, before)


def test_free_memory_is_what_the_system_says() -> None:
    free = free_memory()
    if free is None:
        pytest.skip("the system does not say it")
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total = 1024 * int(fields["MemTotal"].split()[0])
    assert total / 1000 < free <= total


def test_bytes_for_people() -> None:
    assert [human(n) for n in (0, 1023, 1536, 5 << 40)] == ["0 B", "1023 B", "1.5 KiB", "5.0 TiB"]
