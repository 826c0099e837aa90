"""A golden in the formats of others, each read back by a reader that is not ours."""

import json
import re
import shutil
import struct
import subprocess

import numpy as np
import pytest

from numpy_llama.errors import InputError
from numpy_llama.golden.export.export import export
from numpy_llama.golden.export.hex_words import fixed_point, parse_encoding
from tests.golden.dumps import golden

FEW = ["layers.1.q", "logits"]


def test_npy_is_read_by_numpy(tmp_path):
    export(golden(), tmp_path / "out", "npy")
    assert {path.stem for path in (tmp_path / "out").glob("*.npy")} == set(golden().values)
    for name, array in golden().values.items():
        assert np.array_equal(np.load(tmp_path / "out" / f"{name}.npy"), array)


def test_npz_is_read_by_numpy_and_has_the_ids(tmp_path):
    export(golden(), tmp_path / "out.npz", "npz", FEW)
    with np.load(tmp_path / "out.npz") as found:
        assert set(found) == {*FEW, "tokens", "greedy"}
        assert np.array_equal(found["logits"], golden().values["logits"])
        assert found["tokens"].tolist() == list(golden().schedule.tokens)


def test_only_what_is_asked_for_is_written(tmp_path):
    export(golden(), tmp_path / "out", "npy", ["layers.*.k", "embed"])
    found = {path.stem for path in (tmp_path / "out").glob("*.npy")}
    assert found == {"embed", "layers.0.k", "layers.1.k", "layers.2.k"}


def test_f32_is_little_endian_rows_first(tmp_path):
    export(golden(), tmp_path / "out", "f32", FEW)
    raw = (tmp_path / "out" / "layers.1.q.f32").read_bytes()
    q = golden().values["layers.1.q"]
    at = (2 * q.shape[1] + 3) * q.shape[2] + 5  # row 2, head 3, feature 5
    assert struct.unpack_from("<f", raw, 4 * at) == (q[2, 3, 5],)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index["taps"]["layers.1.q"] == {"shape": list(q.shape), "axes": "L H hd"}
    assert index["tokens"] == list(golden().schedule.tokens)
    assert index["greedy"] == list(golden().greedy) and index["steps"] == [11, 1, 1, 1]


def words(path):
    lines = path.read_text().splitlines()
    return [int(line, 16) for line in lines], {len(line) for line in lines}


def test_hex_words_are_the_bits(tmp_path):
    export(golden(), tmp_path / "out", "hex", FEW)
    found, digits = words(tmp_path / "out" / "logits.hex")
    assert digits == {8}
    values = [struct.unpack(">f", struct.pack(">I", word))[0] for word in found]
    assert values == golden().values["logits"].reshape(-1).tolist()
    assert words(tmp_path / "out" / "tokens.hex")[0] == list(golden().schedule.tokens)


def test_bfloat16_words_are_rounded_to_nearest(tmp_path):
    export(golden(), tmp_path / "out", "hex", ["logits"], "bfloat16")
    found, digits = words(tmp_path / "out" / "logits.hex")
    assert digits == {4}
    back = np.array([struct.unpack(">f", struct.pack(">I", word << 16))[0] for word in found])
    exact = golden().values["logits"].reshape(-1).astype(np.float64)
    half_step = 2.0 ** (np.floor(np.log2(np.abs(exact))) - 8)
    assert (np.abs(back - exact) <= half_step).all()


# By hand: Q3.4 has 8 bits and steps of 1/16.
FIXED = [
    (1.0, 0x10), (-1.0, 0xF0), (0.03125, 0x00), (0.09375, 0x02), (-0.03125, 0x00),
    (7.9375, 0x7F), (8.0, 0x7F), (-8.0, 0x80), (-8.1, 0x80), (100.0, 0x7F), (0.04, 0x01),
]  # fmt: skip


@pytest.mark.parametrize(("value", "word"), FIXED)
def test_fixed_point_rounds_ties_to_even_and_saturates(value, word):
    encoded, _ = fixed_point(3, 4).encode(np.array([value], np.float32))
    assert encoded.tolist() == [word]


def test_what_does_not_fit_is_counted_and_said(tmp_path):
    outside = fixed_point(3, 4).encode(np.array([8.0, -8.0, -8.1, 1.0], np.float32))[1]
    assert outside == 2
    detail = export(golden(), tmp_path / "out", "hex", ["logits"], "Q0.7")
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    logits = golden().values["logits"]
    scaled = logits.astype(np.float64) * 128
    assert index["saturated"]["logits"] == int(((scaled > 127.5) | (scaled < -128.5)).sum()) > 0
    assert f"{index['saturated']['logits']} values did not fit" in detail
    assert index["digits"] == 2 and "ties to even" in index["encoding"]


@pytest.mark.parametrize("word", ["int8", "Q7", "Q16.16", "Q-1.8", "float64", ""])
def test_other_words_are_refused(word):
    with pytest.raises(InputError, match="float32, bfloat16"):
        parse_encoding(word)


def test_a_c_compiler_reads_the_same_bits(tmp_path):
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    export(golden(), tmp_path / "golden.h", "c", FEW)
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "golden.h"\n'
        "int main(void) {\n"
        "  fwrite(golden_logits, 4, GOLDEN_ROWS * GOLDEN_VOCAB, stdout);\n"
        "  fwrite(golden_layers_1_q, 4, sizeof golden_layers_1_q / 4, stdout);\n"
        "  fwrite(golden_tokens, 4, GOLDEN_ROWS, stdout);\n"
        "  fwrite(golden_greedy, 4, sizeof golden_greedy / 4, stdout);\n"
        "  return GOLDEN_PROMPT;\n}\n"
    )
    flags = ["-std=c99", "-Wall", "-Werror", "-pedantic"]
    subprocess.run([compiler, *flags, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True)
    assert done.returncode == golden().schedule.prompt
    values = golden().values
    expected = b"".join(values[name].astype("<f4").tobytes() for name in ("logits", "layers.1.q"))
    expected += np.array([*golden().schedule.tokens, *golden().greedy], "<i4").tobytes()
    assert done.stdout == expected


def test_json_is_read_by_any_reader(tmp_path):
    export(golden(), tmp_path / "out.json", "json", FEW)
    found = json.loads((tmp_path / "out.json").read_text())
    assert np.array_equal(np.array(found["layers.1.q"], np.float32), golden().values["layers.1.q"])
    assert found["greedy"] == list(golden().greedy)


@pytest.mark.parametrize("to", ["npz", "json", "c", "npy"])
def test_what_is_there_is_replaced_only_when_asked(tmp_path, to):
    export(golden(), tmp_path / "out", to, ["layers.0.q"])
    with pytest.raises(InputError, match="--force"):
        export(golden(), tmp_path / "out", to, ["layers.0.q"])
    export(golden(), tmp_path / "out", to, ["layers.0.q"], force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_directory_that_is_no_export_is_never_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    with pytest.raises(InputError, match="does not replace"):
        export(golden(), tmp_path / "home", "npy", force=True)
    with pytest.raises(InputError, match="is a directory"):
        export(golden(), tmp_path / "home", "npz", force=True)
    assert (tmp_path / "home" / "letter").read_text() == "dear"


def test_what_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(np, "save", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(golden(), tmp_path / "out", "npy")
    for to, options in (("npy", {"taps": ["nope"]}), ("hex", {"word": "Q9"})):
        with pytest.raises(InputError, match=re.escape("nope") + "|float32"):
            export(golden(), tmp_path / "out", to, **options)
    assert list(tmp_path.iterdir()) == []
