"""Pulling from the hub, against a server on the loopback that speaks its protocol."""

import subprocess
import sys
from pathlib import Path

import pytest

from numpy_llama.errors import InputError, MissingExtraError
from numpy_llama.store.find import find_model
from numpy_llama.store.hub import pull, size_text, wanted
from numpy_llama.store.hub_cache import find_cached, is_hub_name
from tests.hub_server import COMMIT, Hub, serving
from tests.tiny import write_tiny_model

huggingface_hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("huggingface_hub.utils")  # an attribute only once it is imported

NAME = "some-org/tiny-llama"


@pytest.fixture(autouse=True)
def own_home(monkeypatch, tmp_path):
    """No test sees the user's cache, token or endpoint."""
    for variable in ("HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "LLAMA_NP_MODEL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("numpy_llama.store.find.models_dir", lambda: tmp_path / "models")
    yield
    huggingface_hub.utils.close_session()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A repository as they are: the model, and much that is not to be fetched."""
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    write_tiny_model(folder)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    unwanted = {
        "pytorch_model.bin": b"pickle",
        "consolidated.00.pth": b"pickle",
        "consolidated.safetensors": b"twice",
        "original/consolidated.00.pth": b"pickle",
        "original/tokenizer.model": b"other",
        "README.md": b"# words",
        "tiny.Q8_0.gguf": b"GGUF one",
        "tiny.Q4_0.gguf": b"GGUF two",
    }
    return found | unwanted


@pytest.fixture
def hub(files):
    with serving(Hub(NAME, files)) as hub:
        yield hub


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "home" / "hub"


MODEL_FILES = {"config.json", "model.safetensors", "tokenizer.model"}


def test_pull_fetches_config_tokenizer_and_safetensors_and_nothing_else(hub, cache):
    said = []
    path = pull(NAME, say=said.append, endpoint=hub.url, cache=cache)
    assert MODEL_FILES <= set(hub.sent()) == {each.name for each in path.iterdir()}
    assert set(hub.sent()) <= MODEL_FILES | {"generation_config.json", "tokenizer_config.json"}
    for name in MODEL_FILES:
        assert (path / name).read_bytes() == hub.files[name]


def test_what_a_killed_run_left_of_a_whole_file_goes_and_nothing_else(hub, cache):
    path = pull(NAME, endpoint=hub.url, cache=cache)
    blobs = path.parent.parent / "blobs"
    whole = next(each.name for each in blobs.iterdir())
    (blobs / f"{whole}.42f6c5e0.incomplete").write_bytes(b"half")
    (blobs / f"{'0' * 40}.42f6c5e0.incomplete").write_bytes(b"of a run that may be alive")
    assert pull(NAME, endpoint=hub.url, cache=cache) == path
    left = [each.name for each in blobs.glob("*.incomplete")]
    assert left == [f"{'0' * 40}.42f6c5e0.incomplete"] and (blobs / whole).exists()


def test_it_says_what_comes_and_how_large_it_is_before_the_first_byte(hub, cache):
    said = []

    def say(line):
        assert not hub.sent()
        said.append(line)

    path = pull(NAME, say=say, endpoint=hub.url, cache=cache)
    total = sum(len(hub.files[each.name]) for each in path.iterdir())
    assert said[0] == f"{NAME} (main, {COMMIT[:8]}): {size_text(total)}"
    weights = size_text(len(hub.files["model.safetensors"]))
    assert f"  model.safetensors  {weights}" in said


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1234567, "1.2 MB"), (13_476_000_000, "13.5 GB")]
)
def test_sizes(size, text):
    assert size_text(size) == text


def test_the_model_that_was_pulled_is_found_by_its_name_without_a_network(hub, cache):
    path = pull(NAME, endpoint=hub.url, cache=cache)
    asked = len(hub.asked)
    assert find_model(NAME) == find_cached(NAME) == path
    assert len(hub.asked) == asked


def test_what_was_fetched_is_not_fetched_again(hub, cache):
    pull(NAME, endpoint=hub.url, cache=cache)
    first = len(hub.sent())
    pull(NAME, endpoint=hub.url, cache=cache)
    assert len(hub.sent()) == first > 0


def test_an_interrupted_file_is_fetched_on_from_where_it_ended(hub, cache, monkeypatch):
    """The library keeps whole chunks of 10 MB; here of 1 kB, so that a small file shows it."""
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut_once = "model.safetensors"
    try:
        path = pull(NAME, endpoint=hub.url, cache=cache)
    except InputError as error:
        assert "goes on from where it ended" in str(error)
        path = pull(NAME, endpoint=hub.url, cache=cache)
    half = len(hub.files["model.safetensors"]) // 2
    ranges = [asked for _, p, asked in hub.asked if asked and p.endswith("/model.safetensors")]
    starts = [int(asked.removeprefix("bytes=").split("-")[0]) for asked in ranges]
    assert any(half - 1000 <= start <= half for start in starts)
    assert (path / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


def test_one_gguf_file_by_name(hub, cache):
    path = pull(NAME, file="tiny.Q4_0.gguf", endpoint=hub.url, cache=cache)
    assert path.read_bytes() == b"GGUF two"
    assert hub.sent() == ["tiny.Q4_0.gguf"]
    assert find_model(NAME) == path
    assert find_cached(NAME, file="tiny.Q4_0.gguf") == path
    with pytest.raises(InputError, match="not in the hub's cache"):
        find_cached(NAME, file="tiny.Q8_0.gguf")


def test_two_gguf_files_in_the_cache_are_a_question(hub, cache):
    for file in ("tiny.Q4_0.gguf", "tiny.Q8_0.gguf"):
        pull(NAME, file=file, endpoint=hub.url, cache=cache)
    with pytest.raises(InputError, match="which of these.*Q4_0.*Q8_0"):
        find_model(NAME)


def test_a_revision_is_kept_apart(files, cache):
    with serving(Hub(NAME, files, revision="v1.0")) as hub:
        path = pull(NAME, revision="v1.0", endpoint=hub.url, cache=cache)
    assert find_cached(NAME, revision="v1.0") == find_cached(NAME, revision=COMMIT) == path
    assert find_cached(NAME) is None


# ------------------------------------------------------------------ what is chosen


def test_all_parts_of_a_split_gguf_come():
    parts = [f"q/m-{i:05d}-of-00003.gguf" for i in (1, 2, 3)]
    listed = [*parts, "q/m-00001-of-00002.gguf", "q/other-00002-of-00003.gguf"]
    assert wanted(NAME, listed, parts[0]) == parts


def test_shards_come_with_their_index_and_foreign_safetensors_do_not():
    shards = [f"model-{i:05d}-of-00002.safetensors" for i in (1, 2)]
    listed = [*shards, "model.safetensors.index.json", "config.json", "adapter_model.safetensors"]
    assert wanted(NAME, listed) == sorted([*shards, "model.safetensors.index.json", "config.json"])


@pytest.mark.parametrize(
    ("listed", "file", "message"),
    [
        (["a.Q8_0.gguf", "README.md"], None, "name one with --file: a.Q8_0.gguf"),
        (["config.json", "pytorch_model.bin"], None, "nothing that can be used"),
        (["model.safetensors"], None, "no config.json"),
        ([], None, "nothing that can be used"),
        (["a.gguf"], "b.gguf", "has no GGUF file 'b.gguf'; it has a.gguf"),
        (["model.safetensors"], "model.safetensors", "has no GGUF file"),
        (["../a.gguf"], "../a.gguf", "has no GGUF file"),
    ],
)
def test_what_cannot_be_fetched_is_said(listed, file, message):
    with pytest.raises(InputError, match=message):
        wanted(NAME, listed, file)


@pytest.mark.parametrize(
    ("spec", "answer"),
    [
        ("meta-llama/Llama-3.2-1B", True),
        ("a/b", True),
        ("a", False),
        ("a/b/c", False),
        ("../b", False),
        ("a/..", False),
        ("a/b..c", False),
        ("/a", False),
        ("a/b\n", False),
        ("C:\\a/b", False),
    ],
)
def test_names_of_the_hub(spec, answer):
    assert is_hub_name(spec) is answer


# ------------------------------------------------------------------ what goes wrong


def test_a_model_that_the_hub_does_not_have(hub, cache):
    with pytest.raises(InputError, match="the hub has no model some-org/other, or it is private"):
        pull("some-org/other", endpoint=hub.url, cache=cache)


def test_a_revision_that_the_model_does_not_have(hub, cache):
    with pytest.raises(InputError, match="has no revision 'v9'"):
        pull(NAME, revision="v9", endpoint=hub.url, cache=cache)


def test_a_gated_model(hub, cache):
    hub.gated = True
    with pytest.raises(InputError, match="terms to be accepted.*hf auth login"):
        pull(NAME, endpoint=hub.url, cache=cache)


def test_a_server_that_is_not_there(files, cache):
    with serving(Hub(NAME, files)) as gone:
        pass
    with pytest.raises(InputError, match=f"{NAME} could not be fetched: "):
        pull(NAME, endpoint=gone.url, cache=cache)


def test_without_the_package_its_name_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install huggingface_hub"):
        pull(NAME)


@pytest.mark.parametrize("ref", ["../../../etc", "main", "", "0" * 39, "x" * 100_000, "\0"])
def test_a_cache_whose_ref_is_no_commit_finds_nothing(cache, ref):
    """The directory named by a hostile ref exists, so that only the check of the ref stops it."""
    model = cache / f"models--{NAME.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(ref)
    if len(ref) < 100 and "\0" not in ref:
        (model / "snapshots" / ref).mkdir(parents=True, exist_ok=True)
    assert find_cached(NAME) is None
    assert find_cached(NAME, revision="../refs/main") is None


# ------------------------------------------------------------------ the command


def llama_np(*args: str, tmp_path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    home = {"HF_HOME": str(tmp_path / "home"), "PATH": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "numpy_llama", *args],
        capture_output=True,
        text=True,
        env=home | quiet | env,
        cwd=Path(__file__).parent.parent,
        timeout=120,
    )


def test_the_command_prints_the_path_and_another_uses_the_model_offline(hub, tmp_path):
    done = llama_np("pull", NAME, tmp_path=tmp_path, HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{find_cached(NAME)}\n"
    assert "model.safetensors  " in done.stderr

    asked = len(hub.asked)
    offline = llama_np("pull", NAME, "--offline", tmp_path=tmp_path, HF_ENDPOINT=hub.url)
    assert offline.stdout == done.stdout
    generate = ("generate", "once", "-m", NAME, "-n", "3")
    used = llama_np(*generate, tmp_path=tmp_path, HF_ENDPOINT=hub.url)
    assert used.returncode == 0, used.stderr
    assert len(hub.asked) == asked


def test_offline_says_what_is_not_there(tmp_path):
    done = llama_np("pull", NAME, "--offline", tmp_path=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"Error: {NAME} (main) is not in the hub's cache, {tmp_path}/home/hub\n"


def test_a_model_that_was_not_pulled_is_not_fetched_but_hinted_at(tmp_path):
    with pytest.raises(InputError, match=f"llama-np pull {NAME}"):
        find_model(NAME)


@pytest.mark.parametrize("option", ["--offline", "--revision=x", "--file=x.gguf"])
def test_options_of_the_hub_are_refused_elsewhere(option, tmp_path):
    done = llama_np("pull", "smollm2-135m", option, tmp_path=tmp_path)
    assert done.returncode == 2
    assert "are for ORG/NAME" in done.stderr
