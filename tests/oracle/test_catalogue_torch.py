"""Each fault of the catalogue computes what an independent implementation of the same bug does."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from numpy_llama.golden.faults import CATALOGUE  # noqa: E402
from numpy_llama.golden.replay.replay import run  # noqa: E402
from numpy_llama.golden.replay.rows import last_rows  # noqa: E402
from numpy_llama.golden.replay.schedule import Schedule  # noqa: E402
from numpy_llama.model import Llama  # noqa: E402
from tests.models import weights_of  # noqa: E402

from .torch_faults import CONFIGS, FAULTS, HARMLESS, Case, candidate, case, case_for  # noqa: E402

pytestmark = pytest.mark.oracle

# Where values are rounded to 8 or 11 bits, an error of 2⁻⁵³ before it decides which way: then no
# two implementations agree, and the errors that the fault makes must only be of the same size.
ROUNDING = {"norm-bf16", "norm-float16"}


def faulty_run(this: Case, fault: str) -> dict[str, np.ndarray]:
    """All taps of numpy_llama with a fault of the catalogue, in float64."""
    model = Llama(this.config, weights_of(this.config, this.tensors))
    steps = (*map(len, this.chunks), *[1] * len(this.answer))
    return run(*CATALOGUE[fault].apply(model, Schedule(tuple(this.tokens), steps)))


def error(got: np.ndarray, want: np.ndarray) -> float:
    """The largest error, relative to the largest value."""
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-300))


def test_the_catalogue_has_these_faults() -> None:
    assert set(CATALOGUE) == set(FAULTS)
    assert {id for id, fault in CATALOGUE.items() if fault.harmless} == HARMLESS


PAIRS = [
    (fault, name)
    for fault in FAULTS
    for name in sorted({case_for(fault), "square"})
    if CATALOGUE[fault].applies(CONFIGS[name])
]


def of_these_rows(tap: str, value: np.ndarray, rows: int, fault: str) -> np.ndarray:
    """A tap as the catalogue has it: scores that may be seen, of T rows of the cache."""
    if tap.endswith((".scores", ".probs")):
        value = value[..., -rows:] if fault == "cache-stale" else value[..., :rows]
    return np.where(np.tri(rows, dtype=bool), value, 0) if tap.endswith(".scores") else value


@pytest.mark.parametrize("fault, name", PAIRS)
def test_a_fault_is_what_an_independent_implementation_makes_of_it(fault: str, name: str) -> None:
    this = case(name)
    theirs = candidate(this, fault, dtype=torch.float64)
    ours = faulty_run(this, fault)
    rows = len(theirs["logits"])
    bound = 0.1 if fault in ROUNDING else 1e-9
    for tap, value in theirs.items():
        value = of_these_rows(tap, value, rows, fault)
        expected = last_rows(tap, ours[tap], rows)
        assert value.shape == expected.shape, tap
        assert error(value, expected) < bound, tap
