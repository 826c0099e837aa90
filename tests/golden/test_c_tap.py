"""llama_tap.h: a Llama in C that writes its taps with it passes, and its bug is named."""

import functools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from numpy_llama.commands import main
from numpy_llama.golden.export.c_header import write_header
from numpy_llama.golden.record.fingerprint import named_arrays
from numpy_llama.loading.weights import load_model
from tests.golden.c_llama import FLAGS, built, compiler, write_model
from tests.golden.dumps import folder, golden

pytestmark = pytest.mark.skipif(compiler is None, reason="there is no C compiler")


@functools.cache
def model() -> Path:
    """The golden's model and tokens, as llama.c reads them."""
    arrays = dict(named_arrays(load_model(folder() / "model")))
    write_model(folder() / "model.c", golden().config, arrays, golden().schedule.tokens)
    return folder() / "model.c"


def dump_of(binary: Path, out: Path) -> Path:
    out.mkdir()
    subprocess.run([binary, model(), out], check=True)
    return out


def check(dump: Path, *args: str):
    return CliRunner().invoke(main, ["golden", "check", str(folder() / "golden"), str(dump), *args])


def test_a_llama_in_c_passes(tmp_path):
    result = check(dump_of(built("-O2"), tmp_path / "dump"))
    assert result.exit_code == 0, result.output
    assert "26 of 61 taps given" in result.stdout


def test_its_bug_is_named(tmp_path):
    result = check(dump_of(built("-O2", "-DSWAPPED"), tmp_path / "dump"), "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1 and found["first_divergent"]["tap"] == "layers.0.swiglu"
    assert found["first_bad_operation"] == "layers.0.swiglu"
    names = {fault["id"] for s in found["diagnosis"]["suspects"] for fault in s["faults"]}
    assert names <= {"gate-up-swapped", "gate-up-weights-swapped"} and "gate-up-swapped" in names


def test_a_second_run_into_the_same_directory_is_refused(tmp_path):
    out = dump_of(built("-O2"), tmp_path / "dump")
    again = subprocess.run([built("-O2"), model(), out], capture_output=True)
    assert again.returncode == 1 and b"another run" in again.stderr
    gone = subprocess.run([built("-O2"), model(), tmp_path / "none"], capture_output=True)
    assert gone.returncode == 1 and b"cannot write" in gone.stderr


def test_the_header_is_short_and_is_cplusplus_too(tmp_path):
    header = write_header(tmp_path)
    assert len(header.read_text().splitlines()) <= 60
    plus = shutil.which("c++") or pytest.skip("there is no C++ compiler")
    source = '#include "llama_tap.h"\nint main() { float x = 1; llama_tap("x", &x, 1); }\n'
    (tmp_path / "main.cc").write_text(source)
    flags = ["-std=c++11", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([plus, *flags, "main.cc", "-o", "main"], cwd=tmp_path, check=True)
    subprocess.run(["./main"], cwd=tmp_path, check=True)
    assert not list(tmp_path.glob("*.f32"))  # nothing was opened, so nothing is written


def test_the_bytes_are_those_of_the_floats(tmp_path):
    write_header(tmp_path)
    (tmp_path / "main.c").write_text(
        '#include "llama_tap.h"\nint main(void) {\n'
        "  float x[3] = {1.5f, -0.0f, 3.1415927f};\n"
        '  llama_tap_open("."); llama_tap("a", x, 2); llama_tap("a", x + 2, 1);\n'
        '  llama_tap_layer(12, "q", x, 1); return 0;\n}\n'
    )
    subprocess.run([compiler, *FLAGS, "-O2", "main.c", "-o", "main"], cwd=tmp_path, check=True)
    subprocess.run(["./main"], cwd=tmp_path, check=True)
    expected = np.array([1.5, -0.0, np.pi], "<f4")
    assert (tmp_path / "a.f32").read_bytes() == expected.tobytes()
    assert (tmp_path / "layers.12.q.f32").read_bytes() == expected[:1].tobytes()
