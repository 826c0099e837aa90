"""Runs side by side: as if alone, to the bit each time, and nobody is waited for in vain."""

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError

import numpy as np
import pytest

from numpy_llama.golden import check
from numpy_llama.golden.candidate.candidate import Candidate
from numpy_llama.golden.faults import CATALOGUE, CHOICES, Fault
from numpy_llama.golden.faults.choices.weights import InFewerBits
from numpy_llama.golden.record.record import record
from numpy_llama.golden.replay.beside import meeting
from numpy_llama.golden.replay.beside import side_by_side as beside
from numpy_llama.golden.replay.override import PickedLayers, override
from numpy_llama.golden.replay.precision import in_dtype
from numpy_llama.golden.replay.replay import StopRun, run
from numpy_llama.golden.replay.schedule import Schedule
from numpy_llama.model import Llama
from numpy_llama.parameters import LayerWeights
from tests.models import ROPES, random_model, random_tokens, tiny_config

pytestmark = pytest.mark.timeout(60)  # who waits in vain waits for ever

CONFIG = tiny_config(rope_theta=3e4, norm_eps=3e-5, rope_scaling=ROPES["linear"])
MODEL = random_model(CONFIG, dtype=np.float32)
SCHEDULE = Schedule.of(random_tokens(CONFIG, 9), (5, 7, 11))
MATRICES = 7 * CONFIG.n_layers + 1


@pytest.fixture(autouse=True)
def small_matrices_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "SMALLEST", 1)


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs shared each product that was made."""
    counts: list[int] = []
    multiplied = beside.multiplied

    def counted(asked: beside.Asked, rows: list[np.ndarray]) -> object:
        counts.append(len(rows))
        return multiplied(asked, rows)

    monkeypatch.setattr(beside, "multiplied", counted)
    return counts


def logits_with(
    model: Llama, faults: tuple[Fault, ...], schedule: Schedule = SCHEDULE
) -> np.ndarray:
    """Of a run with these faults; those of how weights are stored come before the dtype."""
    for stored in (fault for fault in faults if fault.stored):
        model, schedule = stored.apply(model, schedule)
    model = in_dtype(model, "float32")
    for computed in (fault for fault in faults if not fault.stored):
        model, schedule = computed.apply(model, schedule)
    return run(model, schedule, ["logits"])["logits"]


def met_logits(*faults: Fault, schedule: Schedule = SCHEDULE) -> Callable[[], np.ndarray]:
    return lambda: logits_with(beside.met_by_all(MODEL), faults, schedule)


# All that differs between runs: steps, rows, the order of matrices, their shapes, their number.
MIXED = [
    "relu", "gate-up-swapped", "bos-doubled", "wq-zero", "cache-stale", "layer-first-repeated",
    "prompt-end-repeated", "norm-final-missing", "k-v-swapped", "decode-position-zero",
]  # fmt: skip


def test_each_run_gives_what_it_gives_alone() -> None:
    faults = [CATALOGUE[id] for id in MIXED]
    together = beside.side_by_side(MODEL, [met_logits(fault) for fault in faults])
    for fault, logits in zip(faults, together, strict=True):
        alone = logits_with(MODEL, (fault,))
        assert logits.dtype == alone.dtype
        np.testing.assert_allclose(logits, alone, rtol=1e-3, atol=1e-4, err_msg=fault.id)


def test_they_repeat_to_the_bit() -> None:
    works = [met_logits(CATALOGUE[id]) for id in MIXED]
    once, twice = beside.side_by_side(MODEL, works), beside.side_by_side(MODEL, works)
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_array_equal(a, b)


def test_runs_alike_share_every_product(products: list[int]) -> None:
    beside.side_by_side(MODEL, [met_logits(CATALOGUE["relu"])] * 5)
    assert products == [5] * MATRICES * 4  # a prompt and three decode steps


def test_who_takes_matrices_in_another_order_is_met_again(products: list[int]) -> None:
    ids = ("gate-up-swapped", "gate-up-weights-swapped", "relu")
    beside.side_by_side(MODEL, [met_logits(CATALOGUE[id]) for id in ids])
    # All but one product a layer and step: gate and up come in the one order or the other.
    assert products.count(3) == (MATRICES - CONFIG.n_layers) * 4


def test_a_run_that_raises_keeps_nobody_waiting() -> None:
    class Breaking(Llama):
        def feed_forward(self, x: np.ndarray, layer: LayerWeights, tap: object) -> np.ndarray:
            raise ZeroDivisionError("broken")

    broken = Fault("broken", "", "", "", "", "", lambda m, s: (override(m, Breaking), s))
    ended: list[int] = []

    def whole() -> np.ndarray:
        logits = met_logits()()
        ended.append(1)
        return logits

    with pytest.raises(ZeroDivisionError, match="broken"):
        beside.side_by_side(MODEL, [whole, met_logits(broken), whole])
    assert len(ended) == 2


def test_a_run_that_ends_early_keeps_nobody_waiting() -> None:
    def stopping() -> np.ndarray:
        def observe(name: str, start: int, array: np.ndarray) -> None:
            if name == "layers.1.q":
                raise StopRun

        taps = ["layers.1.q", "logits"]
        return run(beside.met_by_all(MODEL), SCHEDULE, taps, observe)["layers.1.q"]

    works = [stopping, met_logits(), lambda: np.zeros(3), met_logits(CATALOGUE["bos-doubled"])]
    first, second, third, fourth = beside.side_by_side(MODEL, works)
    assert first.any() and not third.any()
    np.testing.assert_allclose(second, logits_with(MODEL, ()), rtol=1e-3, atol=1e-4)
    assert len(fourth) == len(second) + 1


def test_layers_may_be_skipped_turned_around_or_be_of_another_shape() -> None:
    def picking(*order: int) -> Fault:
        def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
            layers = PickedLayers(model.weights.layers, order)
            weights = dataclasses.replace(model.weights, layers=layers)
            config = dataclasses.replace(model.config, n_layers=len(order))
            return dataclasses.replace(model, weights=weights, config=config), schedule

        return Fault("picking", "", "", "", "", "", apply)

    def narrower(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        def halved(layer: LayerWeights) -> LayerWeights:
            parts = {"w_gate": layer.w_gate[:20], "w_up": layer.w_up[:20]}
            return dataclasses.replace(layer, **parts, w_down=layer.w_down[:, :20])

        layers = tuple(halved(model.weights.layers[i]) for i in range(model.config.n_layers))
        weights = dataclasses.replace(model.weights, layers=layers)
        return dataclasses.replace(model, weights=weights), schedule

    faults = [picking(0, 2), picking(2, 1, 0), picking(1), picking(0, 0, 1, 2)]
    faults += [Fault("narrower", "", "", "", "", "", narrower)]
    together = beside.side_by_side(MODEL, [met_logits(fault) for fault in faults])
    for fault, logits in zip(faults, together, strict=True):
        np.testing.assert_allclose(logits, logits_with(MODEL, (fault,)), rtol=1e-3, atol=1e-4)


def test_a_product_of_a_wrong_shape_is_its_own_runs_error() -> None:
    def wrong() -> np.ndarray:
        return np.zeros((4, 5), np.float32) @ beside.met_by_all(MODEL).weights.layers[0].wq.T

    with pytest.raises(ValueError, match="matmul"):
        beside.side_by_side(MODEL, [met_logits(), wrong, met_logits()])


def test_a_product_that_fails_is_told_to_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*arrays: object) -> None:
        raise MemoryError("full")

    monkeypatch.setattr(beside.np, "concatenate", no_memory)
    with pytest.raises(MemoryError, match="full"):
        beside.side_by_side(MODEL, [met_logits(), met_logits()])


def test_runs_that_are_given_up_end_at_their_next_product(products: list[int]) -> None:
    given_up = threading.Event()

    def observe(name: str, start: int, array: np.ndarray) -> None:
        if name == "layers.1.q":
            given_up.set()

    def until_then() -> object:
        return run(beside.met_by_all(MODEL), SCHEDULE, ["layers.1.q", "logits"], observe)

    with pytest.raises(CancelledError):
        beside.side_by_side(MODEL, [met_logits(), until_then], given_up)
    assert len(products) <= 7 + 3  # of the first layer, and the queries, keys, values of the next


def test_layers_in_fewer_bits_are_made_once_for_those_who_share_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choices = [CHOICES["weights-int8-row"], CHOICES["weights-int8-row-layers"]]
    alone = [logits_with(MODEL, (choice,), SCHEDULE.merged) for choice in choices]
    made: list[int] = []
    of_layer = InFewerBits.of_layer

    def counted(self: InFewerBits, layer: LayerWeights, i: int) -> LayerWeights:
        made.append(i)
        return of_layer(self, layer, i)

    monkeypatch.setattr(InFewerBits, "of_layer", counted)
    works = [met_logits(choice, schedule=SCHEDULE.merged) for choice in choices]
    together = beside.side_by_side(MODEL, works)
    assert made == [0, 1, 2]
    for logits, want in zip(together, alone, strict=True):
        np.testing.assert_allclose(logits, want, rtol=1e-3, atol=1e-4)


def test_a_model_that_shares_nothing_is_run_as_it_is() -> None:
    assert not meeting.shares(random_model(CONFIG))  # of float64: each run has arrays of its own
    assert meeting.shares(MODEL)
    assert beside.met_by_all(MODEL) is MODEL  # nobody is beside this thread


@pytest.mark.parametrize("rows", [1, 9, 32, 100, 300])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 8, 9, 127])
def test_every_run_is_in_one_group(n: int, rows: int) -> None:
    groups = beside.in_groups(range(n), rows)
    assert [i for group in groups for i in group] == list(range(n))
    sizes = [len(group) for group in groups]
    assert max(sizes, default=0) <= max(beside.MOST if rows < 256 else 1, 1)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert len(groups) >= min(n, 2)


@pytest.mark.parametrize("taps", [None, ["logits"]])
@pytest.mark.parametrize("faults", [("gate-up-swapped",), ("relu", "decode-position-plus-1"), ()])
def test_the_diagnosis_is_the_same_with_any_number_of_jobs(
    faults: tuple[str, ...], taps: list[str] | None
) -> None:
    bundle = record(MODEL, random_tokens(CONFIG, 14), 4, chunk=9, detect=False)
    model, schedule = in_dtype(MODEL, "float32"), bundle.schedule
    for fault in faults:
        model, schedule = CATALOGUE[fault].apply(model, schedule)
    values = run(model, schedule, taps)
    if not faults:  # nothing that is known
        values["logits"] = np.roll(values["logits"], 1, axis=-1)
    given = Candidate(values, "float32")
    one, *others = (check(bundle, given, model=MODEL, jobs=jobs) for jobs in (1, 5))
    assert others == [one]
    assert one.diagnosis is not None
    names = [set(suspect.faults) for suspect in one.diagnosis.suspects]
    assert set(faults) in names if faults else not names
