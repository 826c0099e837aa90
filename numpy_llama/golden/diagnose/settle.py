"""The verdict on a candidate that diverged and is not wrong: choices explain it, or noise does.

What was named from whole taps is held against all that was given: each group of rows, single
numbers and greedy ids too, with a run that makes the choices in the place of the golden.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

from ...wording import listed
from ..candidate.candidate import Candidate
from ..compare.compare import compare
from ..compare.verdict import Diagnosis, Report, Suspect
from ..faults import CHOICES, Fault
from ..record.bundle import Bundle
from ..replay.metrics import group_errors
from ..replay.precision import UNIT_ROUNDOFF
from .evidence import Evidence
from .search.search import Search
from .search.trial import one_rounding

NOISE = "what is off is within this model's own noise, measured here: the golden's floors are lucky"
PARTLY = "what was given agrees with the model: it is only not all, or not in its shape"


def chosen_in(golden: Bundle, best: Sequence[int]) -> tuple[int, ...]:
    """The greedy ids of a run that was fed the golden's, as long as these are its own."""
    own = [i == j for i, j in zip(best, golden.greedy, strict=True)]
    return tuple(best[: own.index(False) + 1 if False in own else len(own)])


def as_golden(golden: Bundle, search: Search, faults: tuple[Fault, ...]) -> Bundle:
    """What a golden would be of the model with these faults, at the dtype of the search.

    Its floors are the larger of the golden's and its own noise.
    """
    everything = Evidence(golden.values, {}, golden.schedule)
    search = dataclasses.replace(search, evidence=everything, schedule=golden.schedule)
    search = search.quickly(faults)
    exact, noisy = search.play(faults, "float64"), search.play(faults, search.dtype)
    floors = {}
    for tap, want in exact.items():
        once = one_rounding(faults, want.size) / UNIT_ROUNDOFF[search.dtype]
        own = group_errors(tap, noisy[tap], want, golden.schedule)
        both = zip(golden.group_floors(tap, search.dtype), own, strict=True)
        floors[tap] = tuple(max(f, f * once, g if math.isfinite(g) else f) for f, g in both)
    greedy, noise = golden.greedy, golden.noise(search.dtype)
    if "logits" in exact:
        greedy = chosen_in(
            golden, exact["logits"][golden.schedule.prompt - 1 :].argmax(-1).tolist()
        )
        noise = max(noise, float(abs(noisy["logits"] - exact["logits"]).max()))
    return dataclasses.replace(
        golden,
        values={tap: array.astype("float32") for tap, array in exact.items()},
        floors={search.dtype: floors},
        logit_noise={search.dtype: noise},
        greedy=greedy,
    )


def explained(
    golden: Bundle, candidate: Candidate, search: Search, faults: tuple[Fault, ...]
) -> bool:
    """Whether a model with these faults gives all that the candidate does."""
    return not compare(as_golden(golden, search, faults), candidate, ()).off


def is_noise(golden: Bundle, candidate: Candidate, search: Search) -> bool:
    """Whether the model itself gives all that the candidate does."""
    return explained(golden, candidate, search, ())


def ways_of(suspect: Suspect) -> Iterator[tuple[Fault, ...]]:
    """The choices of a suspect, made in each of their ways."""
    return itertools.product(*(CHOICES[id].each_way for id in suspect.faults))


def settled(
    golden: Bundle,
    candidate: Candidate,
    search: Search,
    report: Report,
) -> Report:
    """The report with what its diagnosis comes to: choices, noise, or what was found."""
    found = report.diagnosis
    suspects = found.suspects if found else ()
    if found is None or not suspects or not all(CHOICES.keys() >= set(s.faults) for s in suspects):
        return report
    suspect = min(suspects, key=lambda suspect: not set(suspect.faults) <= set(report.allowed))
    if any(explained(golden, candidate, search, faults) for faults in ways_of(suspect)):
        return dataclasses.replace(report, chosen=suspect.faults)
    detail = f"the choice of {listed(suspect.faults, 2)} explains the arrays, but not all else"
    return dataclasses.replace(
        report, diagnosis=Diagnosis("unexplained", (), None, found.stage, found.tried, detail)
    )
