"""`score` on the real model against transformers: the same windows, moved on by hand."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from .test_transformers import in_float64  # noqa: E402, F401

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "weights" / "smollm2-135m"

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.smollm2,
    pytest.mark.skipif(not MODEL.exists(), reason="`make model` gets it"),
]


WINDOWS = [(200, 100), (64, 48), (8192, 4096)]  # context and stride


def ours(text: str, context: int, stride: int) -> dict[str, Any]:
    """What the command says of a text."""
    how = ["--json", "--dtype", "float64", "-c", str(context), "--stride", str(stride)]
    done = subprocess.run(
        [sys.executable, "-m", "numpy_llama", "score", "-m", MODEL, *how],
        input=text.encode(),
        capture_output=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    about: dict[str, Any] = json.loads(done.stdout)
    return about


def theirs(model: Any, ids: list[int], context: int, stride: int) -> list[float]:
    """The log-probability of each token but the first, each scored in the first window it is in."""
    found: list[float] = []
    begin = 0
    while len(found) < len(ids) - 1:
        window = torch.tensor([ids[begin : begin + context]])
        with torch.no_grad():
            rows = torch.log_softmax(model(window).logits[0], dim=-1)
        new = range(len(found) + 1, begin + window.shape[1])
        found += [float(rows[i - begin - 1, ids[i]]) for i in new]
        begin += stride
    return found


def test_log_probabilities_and_perplexity_are_transformers(request: pytest.FixtureRequest) -> None:
    """RoPE's table in float64, as in test_transformers: in float32 it moves them by 3e-5."""
    text = (ROOT / "docs" / "kit.md").read_text(encoding="utf-8")[:1200]
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
    ids = tokenizer(text.removesuffix("\n"), add_special_tokens=False)["input_ids"]
    assert len(ids) > 300
    read = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    weights = {name: value.double() for name, value in read.state_dict().items()}
    request.getfixturevalue("in_float64")  # the file itself is of float32
    model = transformers.AutoModelForCausalLM.from_config(read.config).double().eval()
    model.load_state_dict(weights)
    for context, stride in WINDOWS:
        about = ours(text, context, stride)
        assert about["ids"] == ids
        expected = theirs(model, ids, context, stride)
        np.testing.assert_allclose(about["logprobs"][1:], expected, rtol=0, atol=1e-7)
        assert about["perplexity"] == pytest.approx(float(np.exp(-np.mean(expected))), rel=1e-7)
