"""A few kills of everything that writes, alone and in pairs; `make kills` does 40 of each."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import kills
from tests.faults.kills import kill_many
from tests.faults.writers import WRITERS, Writer, nothing, only_the_target

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
EACH = 1


@pytest.mark.parametrize("pair", [False, True], ids=["alone", "pair"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_kill_breaks_nothing_and_the_next_run_leaves_only_the_target(
    name: str, pair: bool
) -> None:
    if "hub" in name:
        pytest.importorskip("huggingface_hub")
    count = kill_many(name, EACH, 0, pair)
    assert not count.broken, count.broken[0]


@contextmanager
def careless(scratch: Path) -> Iterator[Writer]:
    """A writer that opens its target and takes its time, and leaves a file beside it."""

    def write(folder: Path) -> None:
        with open(folder / "target", "wb", 0) as file:
            for _ in range(200):
                file.write(bytes(1000))
                time.sleep(0.0005)

    def state(folder: Path) -> str:
        size = (folder / "target").stat().st_size if (folder / "target").exists() else -1
        return {-1: "absent", 200_000: "new"}.get(size, f"broken: {size} bytes")

    yield Writer(("absent",), nothing, write, state, only_the_target)


def test_a_careless_writer_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kills.WRITERS, "careless", careless)
    count = kill_many("careless", 5, 0, pair=False)
    assert count.broken and "bytes" in count.broken[0]
