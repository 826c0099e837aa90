"""The bars of the diagnosis, held against faults committed in an independent implementation.

Nothing of the candidate is ours: it is the PyTorch model of these tests. `pytest -s` shows the
figures.
"""

import random
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from numpy_llama.golden import check  # noqa: E402
from numpy_llama.golden.candidate.candidate import Candidate  # noqa: E402
from numpy_llama.golden.compare.verdict import Report  # noqa: E402
from numpy_llama.golden.diagnose.search.search import Search  # noqa: E402
from numpy_llama.golden.faults import CATALOGUE, Fault  # noqa: E402
from numpy_llama.golden.record.bundle import Bundle  # noqa: E402
from numpy_llama.golden.record.record import record  # noqa: E402
from numpy_llama.golden.replay.replay import Observer, observe_nothing  # noqa: E402
from numpy_llama.model import Llama  # noqa: E402
from tests.golden.dumps import compare  # noqa: E402
from tests.models import weights_of  # noqa: E402

from .torch_faults import (  # noqa: E402
    CHUNK,
    DECODE,
    ESTIMATED,
    FAULTS,
    HARMLESS,
    INVENTED,
    candidate,
    case,
    case_for,
)
from .transformers_llama import dump, transformers_llama  # noqa: E402

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(600)]

Taps = dict[str, np.ndarray]
RUNS: dict[tuple[object, ...], Taps] = {}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
UNKNOWN = {fault: tap for fault, tap in INVENTED.items() if fault not in ESTIMATED}
# Of the first stage that an invented fault makes wrong, the family of the mistakes there.
FAMILY = (
    dict.fromkeys(("embed", "logits", "resid_mid"), "assembly")
    | dict.fromkeys(("attn_norm.rms", "attn_norm"), "norm")
    | dict.fromkeys(("q_rot",), "rope")
    | dict.fromkeys(("scores", "probs", "heads", "attn_out"), "attention")
    | dict.fromkeys(("swiglu", "ffn_out"), "feed_forward")
)
INJECTED = [fault for fault in FAULTS if fault != "window-4096"]  # see below for that one


@pytest.fixture(autouse=True)
def remember_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each fault by itself once: the same runs are wanted for every candidate."""
    play = Search.play

    def remembering(
        self: Search, faults: Iterable[Fault], dtype: str, observe: Observer = observe_nothing
    ) -> Taps:
        faults = tuple(faults)
        if observe is not observe_nothing or len(faults) > 1:
            return play(self, faults, dtype, observe)
        # A choice has several ways under one name; so has a mistake in several places.
        made = tuple((f.id, f.place, f.value, f.apply) for f in faults)
        key = (self.model.config, tuple(self.evidence.values), made, dtype)
        if key not in RUNS:
            RUNS[key] = play(self, faults, dtype)
        return RUNS[key]

    monkeypatch.setattr(Search, "play", remembering)


@cache
def reference(name: str) -> Llama:
    """The model of a case."""
    this = case(name)
    return Llama(this.config, weights_of(this.config, this.tensors))


@cache
def golden(name: str, detect: bool = False) -> Bundle:
    """The golden of a case."""
    prompt = [token for chunk in case(name).chunks for token in chunk]
    bundle = record(reference(name), prompt, DECODE, chunk=CHUNK[name], detect=detect)
    assert list(bundle.schedule.tokens) == case(name).tokens
    return bundle


def diagnosed(
    name: str, *bugs: str, dtype: str = "float32", taps: Iterable[str] | None = None
) -> Report:
    """The report on the PyTorch model with these bugs, of all its taps or of some."""
    values = candidate(case(name), *bugs, dtype=DTYPES[dtype])
    if taps is not None:
        values = {tap: values[tap] for tap in taps}
    return check(golden(name), Candidate(values, dtype), model=reference(name))


def outcome(report: Report, *bugs: str) -> str:
    """What became of the bugs: "named", "set of n", "misnamed", "unexplained" or "passed"."""
    diagnosis = report.diagnosis
    assert diagnosis is not None
    if report.summary == "passed":
        return "passed"
    if diagnosis.outcome == "unexplained":
        return "unexplained"
    if not any(set(suspect.faults) == set(bugs) for suspect in diagnosis.suspects):
        return "misnamed"
    n = len(diagnosis.suspects)
    return "named" if n == 1 else f"set of {n}"


def show(title: str, outcomes: dict[str, str]) -> None:
    """Print how many had which outcome, and which were not simply named."""
    counts = {kind: list(outcomes.values()).count(kind) for kind in sorted(set(outcomes.values()))}
    print(f"\n{title}: {', '.join(f'{kind} {n}' for kind, n in counts.items())}")
    for what, kind in outcomes.items():
        if kind != "named":
            print(f"  {what}: {kind}")


def share(outcomes: dict[str, str], *good: str) -> float:
    """The share of outcomes that are among the good ones."""
    return sum(kind in good for kind in outcomes.values()) / len(outcomes)


def test_every_fault_is_named_from_all_taps() -> None:
    outcomes = {fault: outcome(diagnosed(case_for(fault), fault), fault) for fault in INJECTED}
    show("float32, all taps", outcomes)
    harmless = {fault: "passed" for fault in HARMLESS}
    assert outcomes == dict.fromkeys(INJECTED, "named") | harmless


def test_a_sliding_window_is_named_once_the_context_is_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each run here takes a second: it is told from the other faults of the mask, not from all.
    masks = {id: f for id, f in CATALOGUE.items() if id.startswith(("mask-", "window-"))}
    monkeypatch.setattr("numpy_llama.golden.diagnose.search.search.CATALOGUE", masks)
    this, taps = case("endless"), ["layers.0.heads", "logits"]
    model = reference("endless")
    bundle = record(model, this.chunks[0], DECODE, taps=taps, detect=False)
    for bugs in ((), ("window-4096",)):
        values = candidate(this, *bugs)
        report = check(
            bundle, Candidate({tap: values[tap] for tap in taps}, "float32"), model=model
        )
        assert outcome(report, *bugs) == ("named" if bugs else "passed")


def test_a_harmless_fault_is_called_so() -> None:
    report = diagnosed("grouped", "rope-from-1")
    assert report.summary == "passed"
    assert any("rope-from-1" in note for note in report.notes)


def test_faults_are_named_from_logits_alone() -> None:
    outcomes = {
        fault: outcome(diagnosed(case_for(fault), fault, taps=["logits"]), fault)
        for fault in INJECTED
        if fault not in HARMLESS
    }
    show("float32, logits alone", outcomes)
    assert "misnamed" not in outcomes.values()
    assert share(outcomes, "named", "set of 2", "set of 3") >= 0.95


def test_at_bfloat16_nothing_is_misnamed_and_only_the_undetectable_is_missed() -> None:
    outcomes = {}
    for fault in INJECTED:
        name = case_for(fault)
        outcomes[fault] = outcome(diagnosed(name, fault, dtype="bfloat16"), fault)
        if outcomes[fault] in ("passed", "unexplained") and fault not in HARMLESS:
            detection = golden(name, detect=True).detectability[fault]["bfloat16"]
            outcomes[fault] += ", as foretold" if not detection.visible else ", though visible"
    show("bfloat16, all taps", outcomes)
    assert "misnamed" not in outcomes.values()
    assert not any(kind.endswith("though visible") for kind in outcomes.values())


def both_matter(name: str, one: str, other: str) -> bool:
    """Whether the two together differ from either alone: ReLU hides which GELU it replaced."""
    logits = [
        candidate(case(name), *bugs, dtype=torch.float64)["logits"]
        for bugs in ((one, other), (one,), (other,))
    ]
    both, *alone = logits
    return not any(both.shape == it.shape and np.allclose(both, it, 1e-9, 1e-9) for it in alone)


def random_pairs(name: str) -> Iterator[tuple[str, str]]:
    """Pairs of faults that can both be made in a model, and of which neither hides the other."""
    chance = random.Random(50)
    faults = [f for f in INJECTED if CATALOGUE[f].applies(case(name).config) and f not in HARMLESS]
    while True:
        one, other = chance.sample(faults, 2)
        if both_matter(name, one, other):
            yield one, other


def test_two_faults_at_once_are_both_named() -> None:
    pairs = random_pairs("grouped")
    outcomes = {}
    for _ in range(50):
        one, other = next(pairs)
        outcomes[f"{one} + {other}"] = outcome(diagnosed("grouped", one, other), one, other)
    show("pairs", outcomes)
    assert "misnamed" not in outcomes.values()
    assert share(outcomes, "named") >= 0.8


def test_an_invented_fault_is_unexplained_and_its_stage_is_right() -> None:
    stages, expected = {}, {}
    for fault, tap in UNKNOWN.items():
        diagnosis = diagnosed("grouped", fault).diagnosis
        assert diagnosis is not None
        stages[fault] = f"{diagnosis.outcome} at {diagnosis.stage}"
        place = tap if tap in ("embed", "logits") else f"layers.0.{tap}"
        expected[fault] = f"unexplained at {place}"
    show("invented", stages)
    assert stages == expected and len(stages) == 20


def test_of_an_invented_fault_the_rows_acquit_no_part_wrongly() -> None:
    """With logits alone: nothing is named, and what it was in is not among what is ruled out."""
    for fault, tap in UNKNOWN.items():
        diagnosis = diagnosed("grouped", fault, taps=["logits"]).diagnosis
        assert diagnosis is not None
        assert diagnosis.suspects == (), fault
        assert FAMILY[tap] not in diagnosis.acquitted, (fault, diagnosis.evidence)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("fault", ESTIMATED)
def test_an_invented_number_is_estimated(fault: str, alone: bool) -> None:
    diagnosis = diagnosed("grouped", fault, taps=["logits"] if alone else None).diagnosis
    assert diagnosis is not None
    name, value = ESTIMATED[fault]
    assert [suspect.faults for suspect in diagnosis.suspects] == [(name,)]
    assert diagnosis.suspects[0].value == pytest.approx(value, rel=1e-2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["grouped", "square", "calm"])
@pytest.mark.parametrize("implementation", ["ours", "eager", "sdpa"])
def test_a_correct_candidate_passes(implementation: str, name: str, dtype: str) -> None:
    this = case(name)
    if implementation == "ours":
        values = candidate(this, dtype=DTYPES[dtype])
    else:
        model = transformers_llama(this.config, this.tensors, DTYPES[dtype], implementation)
        values = dump(model, this.chunks, this.answer)
    report = compare(golden(name), Candidate(values, dtype))
    assert [(v.tap, v.verdict, v.ratio) for v in report.judged if v.verdict != "ok"] == []
    assert report.summary == "passed"
