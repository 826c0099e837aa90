"""A hub or a mirror that lies: nothing is written outside the cache, and each lie is a sentence."""

import importlib
import os

import pytest

from numpy_llama.errors import InputError
from numpy_llama.store.hub import pull
from numpy_llama.store.hub_cache import find_cached
from tests.hub_server import COMMIT, NULL, Hub, model_info, serving
from tests.tiny import write_tiny_model

huggingface_hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("huggingface_hub.utils")  # an attribute only once it is imported

NAME = "some-org/tiny-llama"
WEIGHTS = "model.safetensors"


@pytest.fixture(autouse=True)
def own_home(monkeypatch, tmp_path):
    for variable in ("HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    yield
    huggingface_hub.utils.close_session()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    write_tiny_model(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(files):
    with serving(Hub(NAME, dict(files), large={WEIGHTS})) as hub:
        yield hub


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "a" / "b" / "c" / "hub"


def refused(hub, cache, *words):
    """Pulling is refused in one short sentence with these words; returns it."""
    with pytest.raises(InputError) as refusal:
        pull(NAME, endpoint=hub.url, cache=cache)
    sentence = str(refusal.value)
    assert "\n" not in sentence and len(sentence) < 600, sentence
    assert all(word in sentence for word in words), sentence
    return sentence


def outside(tmp_path, cache):
    """The files under the directory of the test that are not in the cache."""
    return [p for p in tmp_path.rglob("*") if p.is_file() and cache not in p.parents]


def test_honest_answers_pass_and_large_files_go_by_their_sha256(hub, cache):
    path = pull(NAME, endpoint=hub.url, cache=cache)
    assert (path / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    if (path / WEIGHTS).is_symlink():
        assert len((path / WEIGHTS).resolve().name) == 64
        assert len((path / "config.json").resolve().name) == 40


ETAGS = ['"../../../../ESCAPED"', '"/tmp/ESCAPED"', '"..\\\\ESCAPED"', '"x"', '"' + "a" * 300 + '"']


@pytest.mark.parametrize("etag", [*ETAGS, 'W/"../x"', '"."', f'"{"A" * 40}"', f'"{"0" * 41}"'])
@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_an_etag_that_is_no_hash_names_no_file(etag, name, hub, cache, tmp_path):
    """huggingface_hub 2.4.0 writes the server's bytes to blobs/../../../../ESCAPED."""
    hub.etags[name] = etag
    refused(hub, cache, "its ETag is")
    assert not outside(tmp_path, cache)
    assert (
        find_cached(NAME, cache=cache) is None
        or not (find_cached(NAME, cache=cache) / name).exists()
    )


@pytest.mark.parametrize("commit", ["../../../../ESCAPED", "/tmp/ESCAPED", "main", "", "0" * 39])
def test_a_commit_that_is_none_names_no_directory(commit, hub, cache, tmp_path):
    hub.commit = commit
    refused(hub, cache, "its commit is")
    assert not outside(tmp_path, cache) and not cache.exists()


def test_a_commit_that_is_none_in_the_second_answer(files, cache, tmp_path):
    """The hub's package asks again; the first answer, which we look at, was right."""

    class Turning(Hub):
        @property
        def answer(self):
            asked = sum(p.endswith("/revision/main") for _, p, _ in self.asked)
            return None if asked < 2 else model_info(self) | {"sha": "../../../../ESCAPED"}

        @answer.setter
        def answer(self, value):
            pass

    with serving(Turning(NAME, files)) as hub:
        refused(hub, cache, "its commit is", "ESCAPED")
    assert not outside(tmp_path, cache)


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_content_of_the_right_size_and_another_hash_is_refused_and_removed(name, hub, cache):
    data = bytearray(hub.files[name])
    data[-2] ^= 1
    hub.sent_instead[name] = bytes(data)
    sentence = refused(hub, cache, name, "it is not what the hub lists, and was removed")
    assert ("sha256" if name == WEIGHTS else "git hash") in sentence
    hub.sent_instead.clear()
    path = pull(NAME, endpoint=hub.url, cache=cache)
    assert (path / name).read_bytes() == hub.files[name]


def test_content_that_was_changed_in_the_cache_is_fetched_again(hub, cache):
    path = pull(NAME, endpoint=hub.url, cache=cache) / "config.json"
    path.write_bytes(b" " * len(hub.files["config.json"]))
    refused(hub, cache, "config.json", "was removed")
    pull(NAME, endpoint=hub.url, cache=cache)
    assert path.read_bytes() == hub.files["config.json"]


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_a_link_that_leads_out_of_the_cache_is_refused(hub, cache, tmp_path):
    path = pull(NAME, endpoint=hub.url, cache=cache) / "config.json"
    (tmp_path / "secret").write_bytes(hub.files["config.json"])
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    refused(hub, cache, "leads out of the hub's cache")
    assert not path.is_symlink() and (tmp_path / "secret").exists()


SIBLING = {"rfilename": "config.json", "size": 7, "blobId": "0" * 40}
ODD = {
    "a list": [],
    "null": NULL,
    "a text": "hello",
    "a number": 7,
    "no commit": {"id": NAME, "siblings": []},
    "no id": {"sha": COMMIT, "siblings": []},
    "files that are a text": {"id": NAME, "sha": COMMIT, "siblings": "abc"},
    "files that are numbers": {"id": NAME, "sha": COMMIT, "siblings": [1, 2]},
    "a file without a name": {"id": NAME, "sha": COMMIT, "siblings": [{"size": 3}]},
    "a name that is a number": {
        "id": NAME,
        "sha": COMMIT,
        "siblings": [SIBLING | {"rfilename": 3}],
    },
    "a size that is a text": {"id": NAME, "sha": COMMIT, "siblings": [SIBLING | {"size": "7"}]},
    "a negative size": {"id": NAME, "sha": COMMIT, "siblings": [SIBLING | {"size": -7}]},
    "a hash that is none": {"id": NAME, "sha": COMMIT, "siblings": [SIBLING | {"blobId": "../x"}]},
    "a large file without a hash": {"id": NAME, "sha": COMMIT, "siblings": [SIBLING | {"lfs": {}}]},
    "a large file that is a list": {
        "id": NAME,
        "sha": COMMIT,
        "siblings": [SIBLING | {"lfs": [1]}],
    },
    "safetensors that are a list": {"id": NAME, "sha": COMMIT, "safetensors": [1]},
}


@pytest.mark.parametrize("what", ODD)
def test_odd_answers_are_one_sentence(what, hub, cache, tmp_path):
    hub.answer = ODD[what]
    refused(hub, cache)
    assert not outside(tmp_path, cache)


def test_the_hubs_package_is_left_as_it_was(hub, cache):
    http = importlib.import_module("huggingface_hub.utils._http")
    before = http._GLOBAL_CLIENT_FACTORY
    pull(NAME, endpoint=hub.url, cache=cache)
    assert http._GLOBAL_CLIENT_FACTORY is before
