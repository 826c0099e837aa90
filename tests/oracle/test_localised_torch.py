"""Mistakes in one place only, committed in the PyTorch model: `python -m benchmarks.localised`."""

import pytest

pytest.importorskip("torch")

from benchmarks.localised import measure  # noqa: E402

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(600)]
NEAR = ("named", "set of 2", "set of 3")


@pytest.mark.parametrize("alone, least", [(False, 0.95), (True, 0.8)])
def test_random_mistakes_in_one_place_are_named_with_it(alone: bool, least: float) -> None:
    outcomes = measure(24, alone)
    assert "misnamed" not in outcomes.values(), outcomes
    assert sum(kind in NEAR for kind in outcomes.values()) >= least * len(outcomes), outcomes
