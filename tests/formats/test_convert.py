"""Conversion: the same logits in transformers, the right bits, and a directory whole or absent."""

import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numpy_llama.errors import CheckpointError
from numpy_llama.formats.checkpoint import Checkpoint, StoredTensor
from numpy_llama.formats.convert import convert
from numpy_llama.formats.huggingface import read as huggingface
from numpy_llama.formats.huggingface.read import CONFIG, INDEX, SINGLE, hf_name
from numpy_llama.formats.huggingface.safetensors import read_header
from numpy_llama.formats.storage import directory as growing
from numpy_llama.formats.storage.files import sha256_of
from numpy_llama.formats.storage.floats import bf16_to_f32, f64_to_f32_odd
from numpy_llama.model import Llama
from numpy_llama.rope import adjacent_rows
from tests.models import ROPES, random_tensors, random_tokens, tiny_config, weights_of

LAYOUT = "adjacent"


def source_file(directory: Path) -> Path:
    """A file to be the source: its size and time are part of a conversion's recipe."""
    path = directory / "source.gguf"
    path.write_bytes(b"source")
    return path


def checkpoint_of(
    directory: Path, arrays: dict[str, np.ndarray], dtype: str = "F64", **overrides: Any
) -> Checkpoint:
    """An opened checkpoint with these arrays, as any reader would give it."""
    tensors = {
        name: StoredTensor(array.shape, dtype, array.nbytes, lambda array=array: array)
        for name, array in arrays.items()
    }
    config = tiny_config(**overrides)
    return Checkpoint(source_file(directory), "test", config, tensors, LAYOUT)


def bf16_bits(array: np.ndarray) -> np.ndarray:
    """The upper half of a float32: some bfloat16 near it."""
    return (array.view(np.uint32) >> 16).astype(np.uint16)


def adjacent(name: str, array: np.ndarray, heads: int, kv_heads: int) -> np.ndarray:
    """A converted tensor with the rows of q and k as the model has them."""
    last = name.rpartition(".")[2]
    n = {"wq": heads, "bq": heads, "wk": kv_heads, "bk": kv_heads}.get(last)
    return array if n is None else adjacent_rows(array, n)


def loaded(directory: Path) -> dict[str, np.ndarray]:
    """The tensors of a converted tiny model in the model's layout, stored bits."""
    checkpoint = huggingface.read(directory)
    config = checkpoint.config
    return {
        name: adjacent(name, tensor.load(), config.n_heads, config.n_kv_heads)
        for name, tensor in checkpoint.tensors.items()
    }


# — what is written —


@pytest.mark.oracle
@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_transformers_gives_the_same_logits(
    rope: str, tied: bool, biases: bool, tmp_path: Path
) -> None:
    """In float64, to the float32 that transformers computes RoPE's angles in."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    overrides: dict[str, Any] = {
        "rope_scaling": ROPES[rope],
        "tied_head": tied,
        "attention_bias": biases,
        "mlp_bias": biases,
    }
    config = tiny_config(**overrides)
    arrays = random_tensors(config)
    convert(checkpoint_of(tmp_path, arrays, **overrides), tmp_path / "out")
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float64)
    tokens = random_tokens(config, 40)
    with torch.no_grad():
        expected = theirs(torch.tensor([tokens])).logits[0].numpy()
    ours = Llama(config, weights_of(config, arrays)).forward(tokens)
    assert np.abs(ours - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("stored", ["F64", "F32", "F16", "BF16"])
def test_keep_keeps_every_bit(stored: str, tmp_path: Path) -> None:
    """Whatever the dtype; only the rows of q and k change places."""
    arrays = random_tensors(tiny_config(), dtype=np.float32)
    kinds = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
    for name, array in arrays.items():
        arrays[name] = bf16_bits(array) if stored == "BF16" else array.astype(kinds[stored])
    convert(checkpoint_of(tmp_path, arrays, stored), tmp_path / "out")
    got = loaded(tmp_path / "out")
    assert got.keys() == arrays.keys()
    for name, array in got.items():
        assert array.dtype == arrays[name].dtype and np.array_equal(array, arrays[name]), name
    torch_name = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    raw = json.loads((tmp_path / "out" / CONFIG).read_text())
    assert raw["torch_dtype"] == torch_name[stored]


def test_half_split_source_is_not_permuted(tmp_path: Path) -> None:
    """A Hugging Face directory, converted, is the same file of tensors."""
    arrays = random_tensors(tiny_config(), dtype=np.float32)
    convert(checkpoint_of(tmp_path, arrays, "F32"), tmp_path / "one")
    convert(huggingface.read(tmp_path / "one"), tmp_path / "two")
    first, second = (huggingface.read(tmp_path / name).tensors for name in ("one", "two"))
    assert not np.array_equal(first["layers.0.wq"].load(), arrays["layers.0.wq"])
    for name, tensor in first.items():
        assert np.array_equal(tensor.load(), second[name].load())


def test_quantised_becomes_float32(tmp_path: Path) -> None:
    """What a reader expands to float32 is written so, exactly; the norms beside it keep theirs."""
    arrays = random_tensors(tiny_config(), dtype=np.float32)
    source = checkpoint_of(tmp_path, arrays, "Q4_K")
    half = arrays["final_norm"].astype(np.float16)
    source.tensors["final_norm"] = StoredTensor(half.shape, "F16", half.nbytes, lambda: half)  # type: ignore[index]
    convert(source, tmp_path / "out")
    got = loaded(tmp_path / "out")
    assert np.array_equal(got["layers.1.w_up"], arrays["layers.1.w_up"])
    assert got["layers.1.w_up"].dtype == np.float32 and got["final_norm"].dtype == np.float16


@pytest.mark.parametrize("stored", ["F64", "F32", "F16", "BF16", "Q8_0"])
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
@pytest.mark.oracle
def test_dtypes_as_torch_converts_them(stored: str, dtype: Any, tmp_path: Path) -> None:
    """From every dtype to every other: torch's rounding (from float64 to bfloat16, see below)."""
    torch = pytest.importorskip("torch")
    arrays = random_tensors(tiny_config(n_layers=1), dtype=np.float32)
    kinds = {"F64": np.float64, "F16": np.float16}
    for name, array in arrays.items():
        if stored == "BF16":
            arrays[name] = bf16_bits(array)
        else:
            arrays[name] = array.astype(kinds.get(stored, np.float32))
    convert(checkpoint_of(tmp_path, arrays, stored, n_layers=1), tmp_path / "out", dtype)
    target = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[dtype]
    bits = torch.int32 if dtype == "f32" else torch.int16
    for name, got in loaded(tmp_path / "out").items():
        source = torch.from_numpy(arrays[name])
        if stored == "BF16":
            source = torch.from_numpy(arrays[name].view(np.int16)).view(torch.bfloat16)
        assert got.tobytes() == source.to(target).view(bits).numpy().tobytes(), name


def test_float64_is_rounded_once() -> None:
    """Just above a tie of bfloat16 by less than float32 can tell: up, where twice would go down."""
    x = np.array([1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-8, 1 + 3 * 2.0**-8 - 2.0**-40, 0.0, np.inf])
    for sign in (1, -1):
        odd = f64_to_f32_odd(sign * x)
        assert [hex(bits & 0x7FFFFFFF) for bits in odd.view(np.uint32).tolist()] == [
            "0x3f808001",
            "0x3f808000",
            "0x3f817fff",
            "0x0",
            "0x7f800000",
        ]
    assert np.isnan(f64_to_f32_odd(np.array([np.nan]))).all()
    assert f64_to_f32_odd(np.array([1e300]))[0] == np.finfo(np.float32).max


def test_shards_and_their_index(tmp_path: Path) -> None:
    """Every tensor is where the index says, no shard is larger than asked, the total is true."""
    arrays = random_tensors(tiny_config(), dtype=np.float32)
    convert(checkpoint_of(tmp_path, arrays, "F32"), tmp_path / "out", shard_size=20_000)
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 2 and files[0] == f"model-00001-of-{len(files):05}.safetensors"
    assert sorted(os.listdir(tmp_path / "out")) == sorted([CONFIG, INDEX, *files])
    held = {file: read_header(tmp_path / "out" / file)[0] for file in files}
    assert {name: file for file in files for name in held[file]} == index["weight_map"]
    assert set(index["weight_map"]) == {hf_name(name) for name in arrays}
    sizes = [sum(e.stop - e.start for e in entries.values()) for entries in held.values()]
    assert max(sizes) <= 20_000 and sum(sizes) == index["metadata"]["total_size"]
    assert all(np.array_equal(a, arrays[name]) for name, a in loaded(tmp_path / "out").items())


def test_a_tensor_larger_than_a_shard_has_one_to_itself(tmp_path: Path) -> None:
    """Tensors are not cut."""
    arrays = random_tensors(tiny_config(n_layers=1), dtype=np.float32)
    convert(checkpoint_of(tmp_path, arrays, "F32", n_layers=1), tmp_path / "out", shard_size=1)
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    assert len(set(index["weight_map"].values())) == len(arrays)


def test_provenance_is_in_the_file(tmp_path: Path) -> None:
    """Where the weights came from goes with them; transformers wants to see a format."""
    arrays = random_tensors(tiny_config(), dtype=np.float32)
    convert(
        checkpoint_of(tmp_path, arrays, "F32"),
        tmp_path / "out",
        provenance={"source_sha256": "12ab"},
        extra_files={"LICENSE": b"text"},
    )
    assert read_header(tmp_path / "out" / SINGLE)[1] == {
        "format": "pt",
        "converted_by": "numpy_llama",
        "source": "source.gguf",
        "source_format": "test",
        "source_sha256": "12ab",
    }
    assert (tmp_path / "out" / "LICENSE").read_bytes() == b"text"


class FakeTokenizer:
    """What `convert` asks of a tokenizer."""

    bos_id, eos_ids = 7, (8, 9)

    def save(self, directory: Path) -> None:
        """Write a file."""
        (directory / "tokenizer.json").write_text("{}")


def test_tokenizer_goes_along(tmp_path: Path) -> None:
    """Its files beside the weights, its ids in the config."""
    arrays = random_tensors(tiny_config(), dtype=np.float32)
    source = checkpoint_of(tmp_path, arrays, "F32")
    convert(source, tmp_path / "out", tokenizer=FakeTokenizer())
    raw = json.loads((tmp_path / "out" / CONFIG).read_text())
    assert (raw["bos_token_id"], raw["eos_token_id"]) == (7, [8, 9])
    assert (tmp_path / "out" / "tokenizer.json").exists()


def test_progress_counts_bytes_to_the_end(tmp_path: Path) -> None:
    """Never backwards, and the last is the total."""
    arrays = random_tensors(tiny_config(), dtype=np.float32)
    seen: list[tuple[int, int]] = []
    source = checkpoint_of(tmp_path, arrays, "F32")
    convert(source, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    total = sum(array.nbytes for array in arrays.values())
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (total, total) and len(seen) == len(arrays)


def test_memory_is_a_few_tensors(tmp_path: Path) -> None:
    """A model of 30 MB in tensors of at most 2 MB, expanded as it is read."""
    config = tiny_config(n_layers=5, dim=512, hidden_dim=1024)
    rng = np.random.default_rng(0)

    def lazy(shape: tuple[int, ...]) -> StoredTensor:
        nbytes = 4 * int(np.prod(shape))
        return StoredTensor(shape, "Q8_0", nbytes, lambda: rng.random(shape, np.float32))

    shapes = {name: array.shape for name, array in random_tensors(config).items()}
    tensors = {name: lazy(shape) for name, shape in shapes.items()}
    largest, total = (f(t.nbytes for t in tensors.values()) for f in (max, sum))
    assert total > 30e6 and largest < 2.2e6
    source = Checkpoint(source_file(tmp_path), "test", config, tensors, LAYOUT)
    tracemalloc.start()
    try:
        convert(source, tmp_path / "out", "bf16")
        assert tracemalloc.get_traced_memory()[1] < 4 * largest
    finally:
        tracemalloc.stop()


# — values that do not fit —


@pytest.mark.parametrize(("dtype", "value"), [("f16", 65520.0), ("f16", -1e6), ("bf16", 3.4e38)])
def test_w7_overflow_is_refused(dtype: Any, value: float, tmp_path: Path) -> None:
    """By tensor, count and size; nothing is left."""
    arrays = random_tensors(tiny_config(), dtype=np.float32)
    arrays["layers.2.w_up"][3, 4] = value
    arrays["layers.2.w_up"][3, 5] = np.inf  # it was infinite before: no fault of the conversion
    with pytest.raises(CheckpointError, match=r"layers\.2\.mlp\.up_proj\.weight has 1 value") as e:
        convert(checkpoint_of(tmp_path, arrays, "F32"), tmp_path / "out", dtype)
    assert f"{abs(value):.6g}" in str(e.value)
    assert os.listdir(tmp_path) == ["source.gguf"]


@pytest.mark.parametrize(("dtype", "value"), [("f16", 65519.0), ("bf16", 3.39e38)])
def test_w7_the_largest_that_fit(dtype: Any, value: float, tmp_path: Path) -> None:
    """They round down; and what is not finite already stays what it is (W8)."""
    arrays = random_tensors(tiny_config(), dtype=np.float32)
    arrays["layers.2.w_up"][3, :4] = value, np.inf, -np.inf, np.nan
    convert(checkpoint_of(tmp_path, arrays, "F32"), tmp_path / "out", dtype)
    got = loaded(tmp_path / "out")["layers.2.w_up"][3, :4]
    got = bf16_to_f32(got) if dtype == "bf16" else got.astype(np.float32)
    assert abs(got[0] - value) < 0.01 * value
    assert got[1] == np.inf and got[2] == -np.inf and np.isnan(got[3])


def test_w10_tied_weights_are_written_once(tmp_path: Path) -> None:
    """As the embeddings; the config says that the head is the same."""
    arrays = random_tensors(tiny_config(tied_head=True), dtype=np.float32)
    convert(checkpoint_of(tmp_path, arrays, "F32", tied_head=True), tmp_path / "out")
    assert "lm_head.weight" not in read_header(tmp_path / "out" / SINGLE)[0]
    assert huggingface.read(tmp_path / "out").config.tied_head


# — the target —


@pytest.fixture
def source(tmp_path: Path) -> Checkpoint:
    """A model to convert, whose file is in the directory of the test."""
    return checkpoint_of(tmp_path, random_tensors(tiny_config(), dtype=np.float32), "F32")


def check_refused(source: Checkpoint, target: Path, *words: str, **options: Any) -> None:
    """The conversion is refused with these words, and nothing on disk has changed."""
    parent = source.source.parent
    before = sorted(str(path) for path in parent.rglob("*"))
    with pytest.raises(CheckpointError) as refusal:
        convert(source, target, **options)
    assert all(word in str(refusal.value) for word in words), str(refusal.value)
    assert sorted(str(path) for path in parent.rglob("*")) == before


def test_existing_model_only_with_force(source: Checkpoint, tmp_path: Path) -> None:
    """With it, the new one takes the place of all of the old one."""
    convert(source, tmp_path / "out", extra_files={"old": b""})
    check_refused(source, tmp_path / "out", "out", "--force")
    convert(source, tmp_path / "out", "bf16", force=True)
    assert sorted(os.listdir(tmp_path / "out")) == [CONFIG, SINGLE]
    assert loaded(tmp_path / "out")["final_norm"].dtype == np.uint16


def test_directory_of_other_things_not_even_with_force(source: Checkpoint, tmp_path: Path) -> None:
    """`-o ~ --force` must not cost a home."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    check_refused(source, tmp_path / "home", "home", "does not look like a model", force=True)


def test_empty_directory_is_no_obstacle(source: Checkpoint, tmp_path: Path) -> None:
    """It has nothing to lose."""
    (tmp_path / "out").mkdir()
    convert(source, tmp_path / "out")
    assert (tmp_path / "out" / SINGLE).exists()


def test_file_or_link_as_target(source: Checkpoint, tmp_path: Path) -> None:
    """A file is not replaced by a directory; a link is not followed."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("dir")
    for name in ("file", "link", "source.gguf"):
        check_refused(source, tmp_path / name, name, force=True)


def test_never_over_the_source(source: Checkpoint, tmp_path: Path) -> None:
    """Not the source itself, nor a directory that holds it, by whatever path."""
    convert(source, tmp_path / "a" / "model")
    again = huggingface.read(tmp_path / "a" / "model")
    (tmp_path / "b").symlink_to("a")
    for path in ("a/model", "a", "b/model", "a/../a/model", "."):
        check_refused(again, tmp_path / path, "source", force=True)


def test_disk_too_small(
    source: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before anything is written."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(growing.shutil, "disk_usage", lambda path: usage._replace(free=20_000_000))
    convert(source, tmp_path / "small")
    monkeypatch.setattr(growing.shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    check_refused(source, tmp_path / "out", "0.00 GB", "free")


def test_system_errors_are_one_sentence(source: Checkpoint, tmp_path: Path) -> None:
    """A parent that is a file."""
    check_refused(source, tmp_path / "source.gguf" / "x" / "y", "cannot be written")


def interrupt_at(count: int) -> Callable[[int, int], None]:
    """A progress function that is Ctrl-C at its `count`-th call."""
    calls = iter(range(1, count + 1))

    def progress(done: int, total: int) -> None:
        if next(calls) == count:
            raise KeyboardInterrupt

    return progress


def test_interrupted_is_absent_and_goes_on(source: Checkpoint, tmp_path: Path) -> None:
    """The next run takes up the shards that were finished, if they still are what was written."""
    loads: list[str] = []

    def counted(name: str, tensor: StoredTensor) -> StoredTensor:
        def load() -> np.ndarray:
            loads.append(name)
            return tensor.load()

        return StoredTensor(tensor.shape, tensor.dtype, tensor.nbytes, load)

    tensors = {name: counted(name, tensor) for name, tensor in source.tensors.items()}
    model = Checkpoint(source.source, source.format, source.config, tensors, LAYOUT)
    with pytest.raises(KeyboardInterrupt):
        convert(model, tmp_path / "out", shard_size=20_000, progress=interrupt_at(20))
    assert not (tmp_path / "out").exists() and len(loads) == 20
    partial = tmp_path / ".out.partial"
    finished = sorted(file.name for file in partial.glob("*.safetensors"))
    assert len(finished) >= 2
    damaged = bytearray((partial / finished[0]).read_bytes())
    damaged[-1] ^= 1
    (partial / finished[0]).write_bytes(damaged)
    loads.clear()
    convert(model, tmp_path / "out", shard_size=20_000)
    first = read_header(tmp_path / "out" / finished[0])[0]
    second = read_header(tmp_path / "out" / finished[1])[0]
    assert {hf_name(name) for name in loads} >= set(first)
    assert not {hf_name(name) for name in loads} & set(second)
    got = loaded(tmp_path / "out")
    assert all(np.array_equal(got[name], t.load()) for name, t in source.tensors.items())
    assert sorted(os.listdir(tmp_path)) == ["out", "source.gguf"]


@pytest.mark.parametrize("change", ["dtype", "source", "shards"])
def test_what_another_run_left_is_not_taken_up(
    change: str, source: Checkpoint, tmp_path: Path
) -> None:
    """Another dtype, a source that changed, other shards: begin again."""
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out", shard_size=20_000, progress=interrupt_at(20))
    partial = tmp_path / ".out.partial"
    finished = [file.name for file in partial.glob("*.safetensors")]
    for file in finished:  # as if they had been finished so: only the recipe tells
        (partial / file).write_bytes(b"stale")
    journal = json.loads((partial / growing.JOURNAL).read_text())
    stale = {file: sha256_of(partial / file) for file in finished}
    (partial / growing.JOURNAL).write_text(json.dumps(journal | {"finished": stale}))
    options: dict[str, Any] = {"shard_size": 20_000}
    if change == "dtype":
        options["dtype"] = "bf16"
    elif change == "source":
        source.source.write_bytes(b"another source")
    else:
        options["shard_size"] = 30_000
    convert(source, tmp_path / "out", **options)
    huggingface.read(tmp_path / "out")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("force", ["no", "force"])
def test_killed_at_every_moment(force: str, tmp_path: Path) -> None:
    """SIGKILL at each call that touches a file: the target is absent or whole, then finished."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.formats.killed_conversion", str(tmp_path), force],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 40
