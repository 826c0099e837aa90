"""How many mistakes in one place only are named with their place: `python -m benchmarks.localised`.

Each is committed in the PyTorch model of the tests, which shares no code with the judge; drawn at
random, and again where its golden cannot see it at all. The bars: with all taps 95 % with the
place, with logits alone 80 %, and none misnamed.
"""

import argparse
import functools
from collections import Counter

from numpy_llama.golden import check
from numpy_llama.golden.candidate.candidate import Candidate
from numpy_llama.golden.compare.verdict import Report
from numpy_llama.golden.faults import CATALOGUE
from numpy_llama.golden.record.bundle import Bundle
from numpy_llama.golden.record.record import record
from numpy_llama.model import Llama
from tests.models import weights_of
from tests.oracle.torch_faults import DECODE
from tests.oracle.torch_places import Local, drawn, local_candidate, small_case


@functools.cache
def golden(kind: str, seed: int) -> tuple[Bundle, Llama]:
    """The golden of a small model, and the model."""
    case = small_case(kind, seed)
    model = Llama(case.config, weights_of(case.config, case.tensors))
    prompt = [token for chunk in case.chunks for token in chunk]
    return record(model, prompt, DECODE, chunk=len(case.chunks[0]), detect=False), model


def outcome(report: Report, local: Local) -> str:
    """What became of a mistake."""
    diagnosis = report.diagnosis
    if report.summary == "passed" or diagnosis is None:
        return "not seen"
    if not diagnosis.suspects:
        return "unexplained"
    found = [(suspect.faults, suspect.place) for suspect in diagnosis.suspects]
    if ((local.fault,), local.place) not in found:
        return "misnamed"
    return "named" if len(found) == 1 else f"set of {len(found)}"


def measure(count: int, alone: bool, seed: int = 8) -> dict[tuple[str, int, Local], str]:
    """The outcomes of so many random mistakes that their goldens can see."""
    draws = drawn(seed, lambda fault, config: CATALOGUE[fault].applies(config))
    outcomes: dict[tuple[str, int, Local], str] = {}
    while len(outcomes) < count:
        kind, number, local = draw = next(draws)
        bundle, model = golden(kind, number)
        values = local_candidate(small_case(kind, number), local)
        values = {"logits": values["logits"]} if alone else values
        report = check(bundle, Candidate(values, "float32"), model=model)
        result = outcome(report, local)
        if result != "not seen":
            outcomes[draw] = result
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    count = parser.parse_args().count
    for title, alone in (("all taps", False), ("logits alone", True)):
        outcomes = measure(count, alone)
        counts = Counter(outcomes.values())
        near = sum(n for kind, n in counts.items() if kind in ("named", "set of 2", "set of 3"))
        print(f"{title}: {counts['named']} of {count} named with their place, {near} with sets of")
        print(f"at most three; {counts['misnamed']} misnamed; {dict(counts)}", flush=True)
        for (kind, number, local), result in outcomes.items():
            if result != "named":
                print(f"  {kind} {number}: {local.fault} {local.place}: {result}", flush=True)


if __name__ == "__main__":
    main()
