"""llama_tap.h: a Llama in C that writes its taps with it passes, and its bug is named."""

import functools
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from numpy_llama.commands import main
from numpy_llama.formats.checkpoint import expected_shapes
from numpy_llama.golden.export.c_header import write_header
from numpy_llama.golden.record.fingerprint import named_arrays
from numpy_llama.loading.weights import load_model
from tests.golden.dumps import folder, golden

HERE = Path(__file__).parent
FLAGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"]

compiler = shutil.which("cc")
pytestmark = pytest.mark.skipif(compiler is None, reason="there is no C compiler")


def write_model(path: Path) -> None:
    """The golden's model and tokens, as llama.c reads them."""
    model, c = load_model(folder() / "model"), golden().config
    tokens = golden().schedule.tokens
    sizes = [c.dim, c.n_layers, c.n_heads, c.n_kv_heads, c.head_dim, c.hidden_dim, c.vocab_size]
    arrays = dict(named_arrays(model))
    with open(path, "wb") as file:
        file.write(np.array([*sizes, len(tokens)], "<i4").tobytes())
        file.write(np.array([c.norm_eps, c.rope_theta], "<f4").tobytes())
        file.write(np.array(tokens, "<i4").tobytes())
        for name, _ in expected_shapes(c):
            file.write(np.ascontiguousarray(arrays[name], "<f4").tobytes())


@functools.cache
def built(*flags: str) -> Path:
    """The directory in which llama.c was compiled against the header that the package ships."""
    made = tempfile.TemporaryDirectory(prefix="golden-c-")
    keep.append(made)
    path = Path(made.name)
    write_header(path)
    source, binary = str(HERE / "llama.c"), str(path / "llama")
    subprocess.run([compiler, *FLAGS, *flags, f"-I{path}", source, "-o", binary, "-lm"], check=True)
    write_model(path / "model")
    return path


keep: list[tempfile.TemporaryDirectory[str]] = []


def dump_of(binary: Path, out: Path) -> Path:
    out.mkdir()
    subprocess.run([binary / "llama", binary / "model", out], check=True)
    return out


def check(dump: Path, *args: str):
    return CliRunner().invoke(main, ["golden", "check", str(folder() / "golden"), str(dump), *args])


def test_a_llama_in_c_passes(tmp_path):
    result = check(dump_of(built(), tmp_path / "dump"))
    assert result.exit_code == 0, result.output
    assert "26 of 61 taps given" in result.stdout


def test_its_bug_is_named(tmp_path):
    result = check(dump_of(built("-DSWAPPED"), tmp_path / "dump"), "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1 and found["first_divergent"]["tap"] == "layers.0.swiglu"
    assert found["first_bad_operation"] == "layers.0.swiglu"
    names = {fault["id"] for s in found["diagnosis"]["suspects"] for fault in s["faults"]}
    assert names <= {"gate-up-swapped", "gate-up-weights-swapped"} and "gate-up-swapped" in names


def test_a_second_run_into_the_same_directory_is_refused(tmp_path):
    out = dump_of(built(), tmp_path / "dump")
    again = subprocess.run([built() / "llama", built() / "model", out], capture_output=True)
    assert again.returncode == 1 and b"another run" in again.stderr
    gone = subprocess.run(
        [built() / "llama", built() / "model", tmp_path / "none"], capture_output=True
    )
    assert gone.returncode == 1 and b"cannot write" in gone.stderr


def test_the_header_is_short_and_is_cplusplus_too(tmp_path):
    header = write_header(tmp_path)
    assert len(header.read_text().splitlines()) <= 60
    plus = shutil.which("c++") or pytest.skip("there is no C++ compiler")
    source = '#include "llama_tap.h"\nint main() { float x = 1; llama_tap("x", &x, 1); }\n'
    (tmp_path / "main.cc").write_text(source)
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
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
    subprocess.run([compiler, *FLAGS, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    subprocess.run(["./main"], cwd=tmp_path, check=True)
    expected = np.array([1.5, -0.0, np.pi], "<f4")
    assert (tmp_path / "a.f32").read_bytes() == expected.tobytes()
    assert (tmp_path / "layers.12.q.f32").read_bytes() == expected[:1].tobytes()
