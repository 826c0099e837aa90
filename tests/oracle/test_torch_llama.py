"""The PyTorch Llama of the tests is right by two others, and each of its faults makes it wrong."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from numpy_llama.config import RopeScaling  # noqa: E402
from numpy_llama.model import Llama  # noqa: E402
from numpy_llama.taps import tap_names  # noqa: E402
from tests.models import weights_of  # noqa: E402

from .torch_faults import (  # noqa: E402
    FAULTS,
    HARMLESS,
    INVENTED,
    Case,
    candidate,
    case,
    case_for,
)
from .transformers_llama import dump, transformers_llama  # noqa: E402

pytestmark = pytest.mark.oracle

ROPES = {
    "default": RopeScaling(),
    "linear": RopeScaling("linear", factor=2.5),
    "llama3": RopeScaling("llama3", factor=8.0, original_context=24, high_freq_factor=2.0),
}


def relative(actual: np.ndarray, expected: np.ndarray) -> float:
    """The root mean square of the error over that of what is expected."""
    return float(np.sqrt(np.mean((actual - expected) ** 2) / np.mean(expected**2)))


def numpy_taps(case: Case) -> dict[str, np.ndarray]:
    """All taps of numpy_llama in float64, the rows of all steps joined."""
    model = Llama(case.config, weights_of(case.config, case.tensors))
    cache = model.new_cache(len(case.tokens))
    rows: dict[str, list[np.ndarray]] = {name: [] for name in tap_names(case.config.n_layers)}
    for tokens in [*case.chunks, *([token] for token in case.answer)]:
        model.forward(tokens, cache, tap=lambda name, array: rows[name].append(array.copy()))
    return {name: stacked(parts, len(case.tokens)) for name, parts in rows.items()}


def stacked(parts: list[np.ndarray], T: int) -> np.ndarray:
    """Rows one below the other; (H, L, S) blocks as (H, T, T)."""
    if parts[-1].ndim < 3 or parts[-1].shape[2] != T:
        return np.concatenate(parts)
    return np.concatenate([np.pad(p, ((0, 0), (0, 0), (0, T - p.shape[2]))) for p in parts], 1)


def with_rope(name: str, rope: str) -> Case:
    """A case with another RoPE."""
    base = case(name)
    return replace(base, config=replace(base.config, rope_scaling=ROPES[rope]))


@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize("name", ["grouped", "square"])
def test_it_equals_transformers(name: str, rope: str) -> None:
    this = with_rope(name, rope)
    model = transformers_llama(this.config, this.tensors)
    theirs = dump(model, this.chunks, this.answer)
    # Norms, angles and softmax in float32, as theirs are: what is left is float64's rounding.
    ours = candidate(this, dtype=torch.float64, wide=torch.float32)
    for tap in theirs:
        expected = theirs[tap]
        if tap.endswith((".q", ".k")):
            hd = this.config.head_dim
            heads = ours[tap].reshape(len(expected), -1, hd)
            ours[tap] = np.concatenate([heads[..., 0::2], heads[..., 1::2]], -1)
        assert relative(ours[tap].reshape(expected.shape), expected) < 1e-12, tap


@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize("name", ["grouped", "square"])
def test_it_equals_numpy_llama(name: str, rope: str) -> None:
    this = with_rope(name, rope)
    expected = numpy_taps(this)
    actual = candidate(this, dtype=torch.float64)
    assert list(actual) == list(expected)
    for tap in expected:
        assert actual[tap].shape == expected[tap].shape, tap
        assert relative(actual[tap], expected[tap]) < 1e-12, tap


@pytest.mark.parametrize("fault", [*FAULTS, *INVENTED])
def test_a_fault_changes_the_logits_unless_it_is_harmless(fault: str) -> None:
    this = case(case_for(fault))
    right = candidate(this, dtype=torch.float64)
    wrong = candidate(this, fault, dtype=torch.float64)
    if right["logits"].shape != wrong["logits"].shape:
        assert fault.startswith(("bos-", "prompt-end-repeated", "left-padding-seen"))
        return
    changed = relative(wrong["logits"], right["logits"])
    if fault in HARMLESS:
        assert changed < 1e-12
        assert relative(wrong["layers.0.q_rot"], right["layers.0.q_rot"]) > 1e-3
    else:
        assert changed > 1e-6


@pytest.mark.parametrize("fault", INVENTED)
def test_an_invented_fault_first_shows_at_its_stage(fault: str) -> None:
    this = case(case_for(fault))
    right = candidate(this, dtype=torch.float64)
    wrong = candidate(this, fault, dtype=torch.float64)
    first = next(tap for tap in right if relative(wrong[tap], right[tap]) > 1e-9)
    assert first.endswith(INVENTED[fault])
