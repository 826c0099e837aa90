"""The pytest plugin, in test suites of its own: a session within the session, in a child."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numpy_llama.golden import load
from numpy_llama.golden.record.disk import signed
from tests.golden.dumps import dump, golden

ROOT = Path(__file__).resolve().parents[2]
SUITE = """
import numpy as np

def tensors(name):
    with np.load(name) as file:
        return dict(file)

def test_right(golden):
    report = golden("golden").check(tensors("right.npz"))
    assert report.summary == "passed" and golden("golden").bundle.schedule.prompt == 11

def test_wrong(golden):
    golden("golden").check(tensors("wrong.npz"), dtype="float32")

def test_a_dump_on_disk(golden):
    golden("golden").check("right.npz")

def test_in_a_batch(golden):
    logits = np.pad(tensors("right.npz")["logits"], ((3, 0), (0, 0)))
    golden("golden").check({"logits": logits}, pads=3)

def test_lacking(golden):
    golden("golden").check({"layers.0.q": tensors("right.npz")["layers.0.q"]})

def test_narrow(golden):
    golden("golden").check(tensors("narrow.npz"), dtype="bfloat16")
"""


@pytest.fixture
def suite(tmp_path):
    """A directory with a test file, a golden beside it, and dumps."""
    golden().save(tmp_path / "golden")  # not copied: its model stays where it is
    np.savez(tmp_path / "right.npz", **dump())
    np.savez(tmp_path / "wrong.npz", **dump("relu"))
    np.savez(tmp_path / "narrow.npz", **dump(dtype="bfloat16"))
    (tmp_path / "test_mine.py").write_text(SUITE)
    return tmp_path


def run_pytest(where, *args):
    """A child whose only plugin is ours, loaded by its module so that no installation is needed."""
    own = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-p", "numpy_llama.pytest_plugin", "-q", *args]
    return subprocess.run(
        command, cwd=where, capture_output=True, text=True, env=os.environ | own, timeout=120
    )


def test_right_passes_and_wrong_fails_with_the_report(suite):
    done = run_pytest(suite, "-rfE")
    assert done.returncode == 1 and "4 passed" in done.stdout and "2 failed" in done.stdout
    failed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED")}
    assert failed == {"test_mine.py::test_wrong", "test_mine.py::test_lacking"}
    assert "DIAGNOSIS: relu" in done.stdout and "INCOMPLETE" in done.stdout
    assert "pytest_plugin.py" not in done.stdout  # the traceback ends in the user's own test


def test_goldens_are_recorded_again_from_their_own_model(suite):
    about = suite / "golden" / "golden.json"
    content, recorded = json.loads(about.read_text()), about.stat().st_mtime_ns
    content["environment"]["numpy"] = "of another time"
    about.write_text(json.dumps(signed(content)))
    done = run_pytest(suite, "--golden-record", "-k", "test_right")
    assert done.returncode == 0 and "1 skipped" in done.stdout, done.stdout
    assert about.stat().st_mtime_ns > recorded and "of another time" not in about.read_text()
    again, was = load(suite / "golden"), golden()
    assert again.schedule == was.schedule and again.weights_sha256 == was.weights_sha256
    assert again.detectability.keys() == was.detectability.keys()
    for name, array in was.values.items():
        assert np.array_equal(again.values[name], array)


def test_it_imports_no_numpy_until_a_test_asks(tmp_path):
    (tmp_path / "test_theirs.py").write_text(
        "import sys\ndef test_nothing():\n    assert 'numpy' not in sys.modules\n"
    )
    done = run_pytest(tmp_path)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


def test_it_is_registered():
    from importlib.metadata import entry_points

    found = [entry.value for entry in entry_points(group="pytest11", name="numpy_llama")]
    if not found:
        pytest.skip("numpy_llama is not installed here")
    assert found[0] == "numpy_llama.pytest_plugin"
