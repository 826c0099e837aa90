"""`make kernels`: which kernels a CPU can run, and what is said of a child that died."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks import kernels

EPYC = {"pni", "sse4_2", "avx", "avx2", "fma"}


def test_only_kernels_that_the_cpu_can_run_are_tried():
    assert kernels.runnable(EPYC) == ["Prescott", "Nehalem", "Sandybridge", "Haswell", "Zen"]
    assert kernels.runnable(EPYC | kernels.AVX512)[-1] == "SkylakeX"
    assert kernels.runnable({"asimd", "atomics"}) == ["ARMV8", "NEOVERSEN1"]
    assert kernels.runnable(set()) == []


@pytest.mark.parametrize("name", ["SIGILL", "SIGSEGV"])
def test_a_child_that_dies_of_a_signal_is_told_in_a_sentence(monkeypatch, tmp_path, name):
    code = f"import os, signal; os.kill(os.getpid(), signal.{name})"

    def dies(output, *model, **settings):
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    monkeypatch.setattr(kernels, "recorded_by_a_child", dies)
    found = list(kernels.recorded(["SkylakeX"], tmp_path))
    assert [right for _, _, right in found] == [False, False]
    assert f"SkylakeX, 1 threads: the child was ended by {name}" in found[0][1]
    assert ("this CPU cannot run that kernel" in found[0][1]) is (name == "SIGILL")


def test_bits_that_differ_are_an_error(monkeypatch, tmp_path):
    recorded = {"default": 1.0, "Zen": 1.0, "Nehalem": 1.5}

    def child(output, *model, OPENBLAS_CORETYPE, OPENBLAS_NUM_THREADS):
        kernel = OPENBLAS_CORETYPE or "default"
        used = "Haswell" if kernel == "Zen" else kernel
        return np.full(9, recorded[kernel], np.float32), f"{used}, {OPENBLAS_NUM_THREADS} threads"

    monkeypatch.setattr(kernels, "recorded_by_a_child", child)
    found = list(kernels.recorded(list(recorded), tmp_path))
    assert [right for _, _, right in found] == [True, True, False] * 2
    assert "9 of 9 values differ" in found[2][1]


def test_a_test_that_fails_is_an_error(tmp_path):
    path = tmp_path / "test_x.py"
    path.write_text("import os\ndef test_x(): assert os.environ['OPENBLAS_NUM_THREADS'] == '2'\n")
    assert kernels.tested([str(path)], kernels.settings("Zen", 2))[1]
    words, passed = kernels.tested([str(path)], kernels.settings("Zen", 1))
    assert not passed and "FAILED" in words and words.endswith("s")


def test_a_kernel_is_chosen_for_the_child_alone():
    assert kernels.settings("Zen", 2)["OPENBLAS_CORETYPE"] == "Zen"
    assert kernels.settings(kernels.DEFAULT, 1)["OPENBLAS_CORETYPE"] == ""
