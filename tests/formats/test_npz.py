"""npz files as NumPy writes them: stored and compressed, with and without a config beside them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from numpy_llama.config import LlamaConfig
from numpy_llama.errors import ConfigError
from numpy_llama.formats import npz
from numpy_llama.formats.huggingface.read import hf_name
from numpy_llama.formats.storage.floats import f32_to_bf16
from tests.formats.test_pytorch_bin import config_json, hf_tensors
from tests.malformed.limits import refused
from tests.models import tiny_config
from tests.torch_files import write_zip

CONFIG = tiny_config(n_layers=2)


def write_npz(
    folder: Path, config: LlamaConfig, tensors: dict[str, np.ndarray], compressed: bool = False
) -> Path:
    """An npz by NumPy, and its config.json."""
    path = folder / "model.npz"
    (np.savez_compressed if compressed else np.savez)(path, **tensors)
    (folder / "config.json").write_text(json.dumps(config_json(config)))
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_a_file_of_numpy_is_read_bit_for_bit(
    tmp_path: Path, dtype: str, tied: bool, compressed: bool
) -> None:
    config = replace(CONFIG, tied_head=tied)
    tensors = hf_tensors(config, dtype)
    path = write_npz(tmp_path, config, tensors, compressed)
    assert npz.recognises(path)
    checkpoint = npz.read(path, "half-split")
    assert checkpoint.config == config
    assert len(checkpoint.tensors) == len(tensors)
    for name, tensor in checkpoint.tensors.items():
        found, array = tensor.load(), tensors[hf_name(name)]
        assert found.dtype.isnative and found.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, array)


def test_stored_arrays_are_mapped_and_not_copied(tmp_path: Path) -> None:
    path = write_npz(tmp_path, CONFIG, hf_tensors(CONFIG))
    for tensor in npz.read(path, "adjacent").tensors.values():
        assert not tensor.load().flags.owndata and not tensor.load().flags.writeable


def test_arrays_in_fortran_order_are_read(tmp_path: Path) -> None:
    tensors = hf_tensors(CONFIG)
    path = write_npz(tmp_path, CONFIG, {k: np.asfortranarray(v) for k, v in tensors.items()})
    for name, tensor in npz.read(path, "adjacent").tensors.items():
        np.testing.assert_array_equal(tensor.load(), tensors[hf_name(name)])


def test_bfloat16_is_read_from_the_nameless_type_that_numpy_gives_it(tmp_path: Path) -> None:
    bits = {name: f32_to_bf16(array) for name, array in hf_tensors(CONFIG).items()}
    path = write_npz(tmp_path, CONFIG, {name: array.view("V2") for name, array in bits.items()})
    for name, tensor in npz.read(path, "adjacent").tensors.items():
        assert tensor.dtype == "BF16"
        np.testing.assert_array_equal(tensor.load(), bits[hf_name(name)])


@pytest.mark.parametrize("layout", ["adjacent", "half-split"])
def test_the_layout_is_the_one_that_is_said(tmp_path: Path, layout: npz.RopeLayout) -> None:
    path = write_npz(tmp_path, CONFIG, hf_tensors(CONFIG))
    assert npz.read(path, layout).rope_layout == layout


@pytest.mark.parametrize("layout", [None, "interleaved"])
def test_without_a_layout_the_mend_is_said(tmp_path: Path, layout: npz.RopeLayout | None) -> None:
    path = write_npz(tmp_path, CONFIG, hf_tensors(CONFIG))
    refused(lambda: npz.read(path, layout), str(path), "--rope-layout adjacent", "half-split")


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n_kv_heads", [6, 2, 1])
def test_without_a_config_the_shapes_and_the_heads_suffice(
    tmp_path: Path, n_kv_heads: int, tied: bool
) -> None:
    config = replace(CONFIG, n_kv_heads=n_kv_heads, tied_head=tied)
    path = write_npz(tmp_path, config, hf_tensors(config))
    (tmp_path / "config.json").unlink()
    found = npz.read(path, "adjacent", n_heads=6, max_context=64).config
    assert found == replace(config, norm_eps=1e-6)  # llama3.np's own
    assert npz.read(path, "adjacent", n_heads=6).config.max_context == 256


@pytest.mark.parametrize("n_heads", [None, 0, 5, 48])
def test_without_a_config_wrong_heads_are_refused(tmp_path: Path, n_heads: int | None) -> None:
    path = write_npz(tmp_path, CONFIG, hf_tensors(CONFIG))
    (tmp_path / "config.json").unlink()
    with pytest.raises(ConfigError, match="head"):
        npz.read(path, "adjacent", n_heads=n_heads)


def test_only_archives_of_arrays_are_recognised(tmp_path: Path) -> None:
    assert not npz.recognises(tmp_path)
    assert not npz.recognises(write_zip(tmp_path / "torch.npz", {"archive/data.pkl": b""}))
    (tmp_path / "text.npz").write_bytes(b"PK\3\4 and no more")
    assert not npz.recognises(tmp_path / "text.npz")
    (tmp_path / "empty.npz").touch()
    assert not npz.recognises(tmp_path / "empty.npz")
