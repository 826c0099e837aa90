"""The conformance kit: the same bits everywhere, whole in every format, and blind to no fault."""

import itertools
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from numpy_llama.commands import main
from numpy_llama.config import LlamaConfig, RopeScaling
from numpy_llama.errors import CheckpointError, ConfigError, InputError
from numpy_llama.formats import open_checkpoint
from numpy_llama.formats.gguf import write as gguf_writer
from numpy_llama.golden import CATALOGUE, Candidate, Schedule, check, load
from numpy_llama.golden import run as run_model
from numpy_llama.golden.kit.cases import CASES, Case
from numpy_llama.golden.kit.coverage import coverage, ratio_in, table
from numpy_llama.golden.kit.kit import KIT, load_cases, read_kit, write_kit
from numpy_llama.golden.kit.weights import hashed, tensor
from numpy_llama.golden.record.fingerprint import weights_sha256
from numpy_llama.golden.replay.metrics import tap_error
from numpy_llama.golden.replay.precision import in_dtype
from numpy_llama.loading.weights import load_model

QUICK = tuple(case for case in CASES if not case.slow)
BY_NAME = {case.name: case for case in CASES}


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case but the slow one, the goldens without what they can see."""
    place = tmp_path_factory.mktemp("kit") / "kit"
    write_kit(place, QUICK, detect=False)
    return place


# — the weights —


def splitmix64(counter: int) -> int:
    """The generator in Python's integers, from the paper's figure 17."""
    mask = (1 << 64) - 1
    z = (counter + 1) * 0x9E3779B97F4A7C15 & mask
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
    return z ^ (z >> 31)


def test_the_hash_is_splitmix64() -> None:
    # The first outputs for the seed 0, as in the test vectors of other implementations.
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert hashed(np.arange(3, dtype=np.uint64)).tolist() == published


@pytest.mark.parametrize("name, exponent", [("layers.0.w_gate", -2), ("layers.1.wq", -1)])
def test_weights_are_whole_numbers_times_a_power_of_two(name: str, exponent: int) -> None:
    got = tensor("gqa", name, (7, 48))
    stream = zlib.crc32(f"gqa/{name}".encode()) << 32
    whole = [(splitmix64(stream + i) >> 40) - 2**23 for i in range(7 * 48)]
    assert got.dtype == np.float32
    # 24 bits and a power of two: float64 holds the product exactly, and so does float32.
    assert got.reshape(-1).tolist() == [n * 2.0 ** (exponent - 23) for n in whole]


def test_gains_are_away_from_one_and_from_zero() -> None:
    gains = tensor("gqa", "layers.0.attn_norm", (48,))
    assert 0.5 <= gains.min() < 0.6 and 1.4 < gains.max() <= 1.5


def files_of(kit: Path) -> dict[str, bytes]:
    """Every file that must be the same everywhere: all but what names times and places."""
    files = {str(path.relative_to(kit)): path for path in kit.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if path.name != "golden.json"}


WRITE = """
import sys
from pathlib import Path
from numpy_llama.golden.kit.kit import write_kit
from numpy_llama.golden.kit.cases import CASES
write_kit(Path(sys.argv[1]), CASES[:3], detect=False)
"""


def test_the_files_do_not_depend_on_the_threads_of_the_blas(tmp_path: Path) -> None:
    for threads in ("1", "2"):
        env = os.environ | {"OPENBLAS_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-c", WRITE, tmp_path / threads], env=env, check=True)
    one, two = files_of(tmp_path / "1"), files_of(tmp_path / "2")
    assert one.keys() == two.keys() and len(one) > 15
    for name in one:
        if not name.endswith("golden.safetensors"):
            assert one[name] == two[name], name
    for case in CASES[:3]:  # the law of goldens: one ulp, in at most one value of a million
        a, b = (load(tmp_path / threads / case.name / "golden").values for threads in "12")
        ulps = [np.abs(a[tap].view(np.int32) - b[tap].view(np.int32)) for tap in a]
        assert max(int(u.max()) for u in ulps) <= 1
        assert sum(int((u > 0).sum()) for u in ulps) <= 1


# — the formats —


def test_models_are_small_in_every_format(kit: Path) -> None:
    for entry in read_kit(kit):
        for path in entry.models.values():
            files = path.iterdir() if path.is_dir() else [path]
            assert sum(file.stat().st_size for file in files) <= 300_000, path


def test_every_format_holds_the_same_model(kit: Path) -> None:
    for entry in read_kit(kit):
        expected = BY_NAME[entry.name].config
        hashes = set()
        for format_, path in entry.models.items():
            model = load_model(path)
            assert model.config == expected, (entry.name, format_)
            hashes.add(weights_sha256(model))
        assert hashes == {load(entry.golden).weights_sha256}, entry.name


def test_the_index_says_which_format_holds_what(kit: Path) -> None:
    entries = {entry.name: entry for entry in read_kit(kit)}
    assert {name for name, e in entries.items() if "gguf" not in e.models} == {"rope-dynamic"}
    for name in ("gqa", "mha", "mqa-tied", "one-token", "chunks", "500-tokens"):
        assert set(entries[name].models) == {"hf", "gguf", "llama2c"}
    assert "biases" in entries["biases"].not_held["llama2c"]
    for entry in entries.values():
        assert set(entry.models) | set(entry.not_held) == {"hf", "gguf", "llama2c"}
        tokens = [int(line) for line in entry.tokens_file.read_text().splitlines()]
        assert tuple(tokens) == entry.schedule.tokens
        assert entry.schedule.tokens[entry.pads :] == load(entry.golden).schedule.tokens


def test_the_cases_are_what_was_asked_for() -> None:
    configs = [case.config for case in CASES]
    assert {c.rope_scaling.type for c in configs} == {
        "default", "linear", "dynamic", "llama3", "yarn",
    }  # fmt: skip
    assert {1, 500, 4100} <= {case.prompt for case in CASES}
    assert any(c.n_kv_heads == c.n_heads for c in configs)
    assert any(1 < c.n_kv_heads < c.n_heads for c in configs)
    assert any(c.n_kv_heads == 1 < c.n_heads for c in configs)
    assert any(c.head_dim * c.n_heads != c.dim for c in configs)
    assert any(c.attention_bias and c.mlp_bias for c in configs)
    for c in configs:
        assert c.n_kv_heads != c.group_size and c.hidden_dim != c.dim


def sizes_of(case: Case) -> dict[str, float]:
    """Every number of a case that a program may take for another."""
    c = case.config
    rows = case.prompt + case.decode
    return {
        "D": c.dim, "F": c.hidden_dim, "V": c.vocab_size, "N": c.n_layers, "H": c.n_heads,
        "K": c.n_kv_heads, "G": c.group_size, "hd": c.head_dim, "D/H": c.dim / c.n_heads,
        "prompt": case.prompt, "rows": rows,
    }  # fmt: skip


# Which cannot differ: with a key head for each query head H = K, with one for all H = G; heads of
# the usual width have hd = D/H; without decode steps the prompt is all rows; and 1 is always 1.
SAME_BY_NATURE = ({"H", "K"}, {"H", "G"}, {"hd", "D/H"}, {"prompt", "rows"})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_two_numbers_of_a_case_are_the_same(case: Case) -> None:
    c, sizes = case.config, sizes_of(case)
    natural = [c.n_kv_heads == c.n_heads, c.n_kv_heads == 1, c.n_heads * c.head_dim == c.dim,
               case.decode == 0]  # fmt: skip
    allowed = [pair for pair, so in zip(SAME_BY_NATURE, natural, strict=True) if so]
    same = [{a, b} for a, b in itertools.combinations(sizes, 2) if sizes[a] == sizes[b] != 1]
    assert [pair for pair in same if pair not in allowed] == []


def test_there_are_cases_for_windows_groups_and_every_format() -> None:
    assert any(40 <= case.prompt < 100 and case.chunk is None for case in CASES)
    wide = BY_NAME["64-wide"].config
    for size in (wide.dim, wide.hidden_dim, wide.n_heads * wide.head_dim):
        assert size % 64 == 0


def test_some_case_of_each_format_hangs_on_eps(kit: Path) -> None:
    tiny = [entry.models.keys() for entry in read_kit(kit) if entry.name.startswith("tiny-norms")]
    assert set().union(*tiny) == {"hf", "gguf", "llama2c"}
    model, golden, _ = load_cases(kit)["tiny-norms-1e-5"]
    assert ratio_in(golden, model, CATALOGUE["norm-eps-1e-6"]) > 100


def test_the_norms_of_a_tiny_stream_hang_on_eps(kit: Path) -> None:
    squares = {}
    for name in ("tiny-norms", "tiny-norms-1e-5", "large-norms"):
        embed = load(kit / name / "golden").values["embed"]
        squares[name] = float(np.mean(np.square(embed, dtype=np.float64)))
    for name in ("tiny-norms", "tiny-norms-1e-5"):
        assert 0.1 < squares[name] / BY_NAME[name].config.norm_eps < 10
    assert squares["large-norms"] > 1e6


def test_scores_overflow_without_their_maximum(kit: Path) -> None:
    values = load(kit / "large-norms" / "golden").values
    largest = max(float(values[f"layers.{i}.scores"].max()) for i in range(2))
    assert largest > np.log(np.finfo(np.float32).max)


@pytest.mark.parametrize("name", ["gqa", "mqa-tied", "biases", "rope-llama3", "rope-yarn"])
def test_ggml_s_own_reader_finds_what_was_written(kit: Path, name: str) -> None:
    gguf = pytest.importorskip("gguf")
    case, reader = BY_NAME[name], gguf.GGUFReader(kit / name / "model.gguf")
    theirs = {tensor.name: tensor.data for tensor in reader.tensors}
    ours = {gguf_writer.gguf_name(n): a for n, a in case.tensors().items()}
    assert theirs.keys() - {"rope_freqs.weight"} == ours.keys()
    assert all(np.array_equal(theirs[n], ours[n]) for n in ours)
    assert all(tensor.data_offset % 32 == 0 for tensor in reader.tensors)
    about = {key: field.contents() for key, field in reader.fields.items()}
    c = case.config
    assert about["general.architecture"] == "llama"
    assert about["llama.attention.head_count_kv"] == c.n_kv_heads
    assert about["llama.rope.freq_base"] == c.rope_theta
    assert about["llama.attention.layer_norm_rms_epsilon"] == np.float32(c.norm_eps)
    assert len(about["tokenizer.ggml.tokens"]) == c.vocab_size
    assert len(set(about["tokenizer.ggml.tokens"])) == c.vocab_size
    if name == "rope-yarn":
        assert about["llama.rope.scaling.original_context_length"] == 512


def test_gguf_holds_llama3_s_scaling_as_divisors(kit: Path) -> None:
    """Meta's `apply_scaling`, pair by pair, in Python's floats."""
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(kit / "rope-llama3" / "model.gguf")
    (theirs,) = (t.data for t in reader.tensors if t.name == "rope_freqs.weight")
    expected = []
    for i in range(8):
        f = 500.0 ** (-i / 8)
        wavelength = 2 * np.pi / f
        if wavelength < 32 / 4:
            expected.append(1.0)
        elif wavelength > 32 / 1:
            expected.append(8.0)
        else:
            smooth = (32 / wavelength - 1) / (4 - 1)
            expected.append(1 / ((1 - smooth) / 8 + smooth))
    assert {1.0, 8.0} < set(expected)  # pairs of each band
    np.testing.assert_allclose(theirs, expected, rtol=1e-6)


UNHOLDABLE = {
    "dynamic": {"rope_scaling": RopeScaling("dynamic", 2.0)},
    "llama3": {"rope_scaling": RopeScaling("llama3", 8.0, 32, low_freq_factor=2.0)},
    "yarn": {"rope_scaling": RopeScaling("yarn", 4.0, 512, beta_fast=16.0)},
}


@pytest.mark.parametrize("what", UNHOLDABLE)
def test_gguf_is_not_written_for_what_it_cannot_hold(tmp_path: Path, what: str) -> None:
    sizes = dict(dim=16, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=8, hidden_dim=24)
    config = LlamaConfig(**sizes, vocab_size=11, max_context=64, **UNHOLDABLE[what])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=what):
        gguf_writer.write(tmp_path / "m.gguf", config, Case("x", "", config).tensors())
    assert not list(tmp_path.iterdir())


def test_gguf_is_not_written_without_all_tensors(tmp_path: Path) -> None:
    tensors = BY_NAME["gqa"].tensors()
    del tensors["layers.1.wo"]
    with pytest.raises(CheckpointError, match="layers.1.wo"):
        gguf_writer.write(tmp_path / "m.gguf", BY_NAME["gqa"].config, tensors)
    assert not list(tmp_path.iterdir())


# — the proof —


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_zeros_pass_no_case_at_no_dtype(kit: Path, dtype: str) -> None:
    for entry in read_kit(kit):
        golden = load(entry.golden)
        zeros = {tap: np.zeros_like(array) for tap, array in golden.values.items()}
        for values in (zeros, {"logits": zeros["logits"]}):
            report = check(golden, Candidate(values, dtype), name_mistakes=False)
            assert report.summary in ("diverged", "incomplete"), entry.name
            assert report.summary == "diverged" or not report.judgeable, entry.name


def test_every_fault_but_the_window_shows_in_some_quick_case(kit: Path) -> None:
    found = coverage(load_cases(kit))
    assert [one.fault.id for one in found] == list(CATALOGUE)
    assert [one.fault.id for one in found if not one.right] == ["window-4096"]


def test_the_window_shows_in_the_slow_case(tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case.slow)
    path = tmp_path / "m.gguf"
    gguf_writer.write(path, case.config, case.tensors())
    single = in_dtype(load_model(path), "float32")
    schedule = Schedule.of(case.tokens, chunk=case.chunk)
    truth = run_model(in_dtype(single, "float64"), schedule, {"logits"})["logits"]
    noisy = run_model(single, schedule, {"logits"})["logits"]
    faulty = run_model(*CATALOGUE["window-4096"].apply(single, schedule), {"logits"})["logits"]
    floor = tap_error("logits", noisy, truth, schedule)
    assert tap_error("logits", faulty, truth, schedule) > 100 * floor


def test_a_kit_that_is_blind_is_told_so(kit: Path) -> None:
    cases = {name: case for name, case in load_cases(kit).items() if name == "mha"}
    some = {id: CATALOGUE[id] for id in ("relu", "mask-upper-left", "gqa-tiled", "rope-from-1")}
    relu, mask, tiled, from_1 = coverage(cases, faults=some)
    assert relu.by == ["mha"] and relu.right
    assert mask.ratios["mha"] < 10 and not mask.right  # the prompt is not cut in pieces
    assert tiled.ratios == {} and not tiled.right  # every head has its own keys
    assert from_1.by == [] and from_1.right  # it does no harm
    lines = table([relu, mask, tiled, from_1]).splitlines()
    assert [line.split()[0] for line in lines if "NOT SHOWN" in line] == [
        "mask-upper-left",
        "gqa-tiled",
    ]
    assert lines[-1].startswith("1 of 3 faults")


def test_the_command_fails_for_a_blind_kit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blind = [BY_NAME["mha"]]
    monkeypatch.setattr("numpy_llama.golden.kit.kit.write_kit.__defaults__", (blind, *DEFAULTS[1:]))
    result = CliRunner().invoke(main, ["golden", "kit", "--coverage"])
    assert result.exit_code == 1 and "NOT SHOWN" in result.output


DEFAULTS = write_kit.__defaults__ or ()


# — on disk —


def test_a_kit_that_is_there_is_not_replaced(kit: Path) -> None:
    before = files_of(kit)
    with pytest.raises(InputError, match="is there already"):
        write_kit(kit, QUICK[:1], detect=False)
    assert files_of(kit) == before


def test_the_command_wants_to_know_what_to_do() -> None:
    result = CliRunner().invoke(main, ["golden", "kit"])
    assert result.exit_code == 2 and "--coverage" in result.output


def broken(kit: Path, tmp_path: Path, **changes: object) -> Path:
    index = json.loads((kit / KIT).read_text())
    index["cases"][0] |= changes
    (tmp_path / KIT).write_text(json.dumps(index))
    return tmp_path


@pytest.mark.parametrize(
    "changes, detail",
    [
        ({"models": {"hf": "../../etc"}}, "not inside the kit"),
        ({"models": {"hf": "/etc"}}, "not inside the kit"),
        ({"golden": ""}, "not inside the kit"),
        ({"tokens_file": "."}, "not inside the kit"),
        ({"models": {"gguf": "gqa/model.gguf"}}, "in the format hf"),
        ({"models": {"hf": "gqa/hf", "onnx": "x"}}, "onnx"),
        ({"name": "../x"}, "no name of a case"),
        ({"steps": [1]}, "does not cover"),
        ({"tokens": None}, "not a whole index"),
    ],
)
def test_an_index_that_is_broken_is_refused(
    kit: Path, tmp_path: Path, changes: dict[str, object], detail: str
) -> None:
    with pytest.raises(InputError, match=detail):
        read_kit(broken(kit, tmp_path, **changes))


def test_a_directory_that_is_no_kit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no kit"):
        read_kit(tmp_path)
    (tmp_path / KIT).write_text('{"version": 99, "cases": []}')
    with pytest.raises(InputError, match="version 99"):
        read_kit(tmp_path)


def test_goldens_say_which_faults_they_see(tmp_path: Path) -> None:
    write_kit(tmp_path / "kit", [BY_NAME["mha"]])
    seen = load(tmp_path / "kit" / "mha" / "golden").detectability
    assert seen["relu"]["float32"].visible and not seen["mask-upper-left"]["float32"].visible


def test_a_written_gguf_opens_without_the_gguf_package(kit: Path) -> None:
    code = (
        "import sys; sys.modules['gguf'] = None\n"
        "from pathlib import Path; from numpy_llama.formats import open_checkpoint\n"
        "print(open_checkpoint(Path(sys.argv[1])).format)"
    )
    command = [sys.executable, "-c", code, kit / "gqa" / "model.gguf"]
    assert "GGUF" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert open_checkpoint(kit / "gqa" / "model.gguf").config == BY_NAME["gqa"].config


def test_the_document_lists_every_case() -> None:
    text = (Path(__file__).parents[2] / "docs" / "kit.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `") and "{" not in line]
    assert rows == [f"| `{case.name}` | {case.sentence} |" for case in CASES]
