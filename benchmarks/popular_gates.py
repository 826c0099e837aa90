"""What popular correctness gates let through, and what `golden check` says about the same faults.

Every fault of the catalogue is committed in an independent implementation (the PyTorch model of the
tests, float32), on a small random model. Run from the root of the repository:

    python -m benchmarks.popular_gates [--table]
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch

from numpy_llama.golden import check
from numpy_llama.golden.candidate.candidate import Candidate
from numpy_llama.golden.faults import CATALOGUE
from numpy_llama.golden.record.bundle import Bundle
from numpy_llama.golden.record.record import record
from numpy_llama.model import Llama
from tests.models import weights_of
from tests.oracle.torch_faults import (
    CHUNK,
    DECODE,
    FAULTS,
    HARMLESS,
    Case,
    candidate,
    case,
)
from tests.oracle.torch_llama import TorchLlama

MODEL = "calm"  # of tests/oracle/torch_faults.py
GREEDY = 16
PASSES, CAUGHT = "passes", "·"
UNSEEN = {"window-4096", "rope-positions-bf16"}  # no difference in so few positions


@dataclass(frozen=True)
class Evidence:
    """What an implementation shows to a gate: logits (T, V), and its greedy continuation."""

    logits: np.ndarray
    greedy: list[int]


def cosine(got: np.ndarray, want: np.ndarray) -> float:
    """The cosine of the angle between all logits, as two long vectors; 0 if one is zero."""
    size = np.linalg.norm(got) * np.linalg.norm(want)
    return float(np.vdot(got, want) / size) if size else 0.0


def pearson(got: np.ndarray, want: np.ndarray) -> float:
    """The correlation of all logits, PCC: the cosine once their means are taken off."""
    return cosine(got - got.mean(), want - want.mean())


def nmse(got: np.ndarray, want: np.ndarray) -> float:
    """The mean square error of the last row over the variance of what is expected there."""
    return float(np.mean((got[-1] - want[-1]) ** 2) / np.var(want[-1]))


# Each says whether a candidate passes.
GATES: dict[str, Callable[[Evidence, Evidence], bool]] = {
    "cosine ≥ 0.997": lambda got, want: cosine(got.logits, want.logits) >= 0.997,
    "PCC ≥ 0.99": lambda got, want: pearson(got.logits, want.logits) >= 0.99,
    "NMSE < 1e-2": lambda got, want: nmse(got.logits, want.logits) < 1e-2,
    f"{GREEDY} greedy": lambda got, want: got.greedy == want.greedy,
    "allclose 1e-3": lambda got, want: bool(np.allclose(got.logits, want.logits, 1e-3, 1e-3)),
}


def evidence(values: dict[str, np.ndarray], case: Case, *bugs: str) -> Evidence:
    """What the PyTorch model shows, given all its taps."""
    model = TorchLlama(asdict(case.config), case.tensors, torch.float32, bugs)
    return Evidence(values["logits"].astype(np.float64), model.greedy(case.chunks, GREEDY))


def last(rows: Evidence, n: int) -> Evidence:
    """The last n rows: without a BOS, or with two of them, there is another number."""
    return Evidence(rows.logits[-n:], rows.greedy)


def golden_says(bundle: Bundle, model: Llama, values: dict[str, np.ndarray], fault: str) -> str:
    """What `golden check` answers: that it passes, or what it names."""
    report = check(bundle, Candidate(values, "float32"), model=model)
    if report.summary == "passed":
        return PASSES
    found = report.diagnosis.suspects if report.diagnosis else ()
    suspects = [" + ".join(suspect.faults) for suspect in found]
    if not suspects:
        return "caught, unexplained"
    if fault not in suspects:
        return f"caught, **misnamed** {', '.join(suspects)}"
    return "named" if len(suspects) == 1 else f"one of {len(suspects)}"


def row(fault: str, this: Case, right: Evidence, bundle: Bundle, model: Llama) -> list[str]:
    """The cells of one fault."""
    values = candidate(this, fault)
    got = evidence(values, this, fault)
    n = min(len(got.logits), len(right.logits))
    gates = [gate(last(got, n), last(right, n)) for gate in GATES.values()]
    return [
        *(PASSES if passes else CAUGHT for passes in gates),
        golden_says(bundle, model, {"logits": values["logits"]}, fault),
        golden_says(bundle, model, values, fault),
    ]


def rows() -> Iterator[tuple[str, list[str]]]:
    """Every fault that the model can have and that is not harmless, with its cells."""
    this = case(MODEL)
    model = Llama(this.config, weights_of(this.config, this.tensors))
    prompt = [token for chunk in this.chunks for token in chunk]
    bundle = record(model, prompt, DECODE, chunk=CHUNK[MODEL], detect=False)
    right = evidence(candidate(this), this)
    for fault in FAULTS:
        if CATALOGUE[fault].applies(this.config) and fault not in HARMLESS | UNSEEN:
            yield fault, row(fault, this, right, bundle, model)


def table() -> Iterator[str]:
    """The lines of a table in Markdown; the last sums up."""
    heads = ["fault", *GATES, "`golden check`, logits alone", "`golden check`, all taps"]
    yield f"| {' | '.join(heads)} |"
    yield f"|---{'|:-:' * (len(heads) - 1)}|"
    let_through = np.zeros(len(heads) - 1, int)
    count = 0
    for fault, cells in rows():
        count += 1
        let_through += [cell == PASSES for cell in cells]
        yield f"| `{fault}` | {' | '.join(cells)} |"
    sums = " | ".join(f"**{n}**" for n in let_through)
    yield f"| **let through, of {count}** | {sums} |"


def main() -> None:
    """Print the table, under a title unless only the table is wanted."""
    parser = argparse.ArgumentParser(description="What popular gates let through.")
    parser.add_argument("--table", action="store_true", help="print the table and nothing else")
    if not parser.parse_args().table:
        D, N = case(MODEL).config.dim, case(MODEL).config.n_layers
        print(f"Random model: D = {D}, N = {N}; {len(case(MODEL).tokens)} tokens; float32.\n")
    for line in table():
        print(line, flush=True)


if __name__ == "__main__":
    main()
