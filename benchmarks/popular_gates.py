"""What popular correctness gates let through, and what `golden check` says about the same faults.

Every fault of the catalogue is committed in an independent implementation (the PyTorch model of the
tests, float32), on a small random model. Run from the root of the repository:

    python -m benchmarks.popular_gates [--table]
"""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch

from tests.oracle.torch_faults import FAULTS, Case, candidate, case, case_for
from tests.oracle.torch_llama import TorchLlama

GREEDY = 16


@dataclass(frozen=True)
class Evidence:
    """What an implementation shows to a gate: logits (T, V), and its greedy continuation."""

    logits: np.ndarray
    greedy: list[int]


def cosine(got: np.ndarray, want: np.ndarray) -> float:
    """The cosine of the angle between all logits, as two long vectors."""
    return float(np.vdot(got, want) / (np.linalg.norm(got) * np.linalg.norm(want)))


def pearson(got: np.ndarray, want: np.ndarray) -> float:
    """The correlation of all logits: PCC."""
    return float(np.corrcoef(got.ravel(), want.ravel())[0, 1])


def nmse(got: np.ndarray, want: np.ndarray) -> float:
    """The mean square error of the last row over the variance of what is expected there."""
    return float(np.mean((got[-1] - want[-1]) ** 2) / np.var(want[-1]))


# Each says whether a candidate passes.
GATES: dict[str, Callable[[Evidence, Evidence], bool]] = {
    "cosine ≥ 0.997": lambda got, want: cosine(got.logits, want.logits) >= 0.997,
    "PCC ≥ 0.99": lambda got, want: pearson(got.logits, want.logits) >= 0.99,
    "NMSE < 1e-2": lambda got, want: nmse(got.logits, want.logits) < 1e-2,
    f"{GREEDY} greedy": lambda got, want: got.greedy == want.greedy,
    "allclose 1e-3": lambda got, want: np.allclose(got.logits, want.logits, 1e-3, 1e-3),
}


def evidence(case: Case, *bugs: str, dtype: torch.dtype = torch.float32) -> Evidence:
    """The logits and the greedy ids of the PyTorch model, with faults or without."""
    logits = candidate(case, *bugs, dtype=dtype)["logits"].astype(np.float64)
    model = TorchLlama(asdict(case.config), case.tensors, dtype, bugs)
    return Evidence(logits, model.greedy(case.chunks, GREEDY))
