"""The pytest plugin: `golden("DIR").check(tensors)` in a test, `--golden-record` to record anew.

    def test_my_llama(golden):
        report = golden("goldens/once").check({"logits": logits, "layers.0.q": q})

pytest imports this file in every run of everyone who has the package installed. So it imports
neither NumPy nor the judge until a test asks for the fixture.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .golden.compare.verdict import Report
    from .golden.record.bundle import Bundle


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option, in a group of its own."""
    parser.getgroup("numpy_llama").addoption(
        "--golden-record",
        action="store_true",
        help="record the goldens that tests use again, each from its own model, and skip the check",
    )


class Golden:
    """One golden of a test suite."""

    def __init__(self, directory: Path, record: bool):
        self.directory, self.record = directory, record

    @property
    def bundle(self) -> "Bundle":
        """What is recorded: `bundle.schedule.tokens` are the ids to run."""
        from .golden.record.bundle import load

        return load(self.directory)

    def check(
        self,
        tensors: Mapping[str, Any] | str | Path,
        dtype: str | None = None,
        names: str | None = None,
        require: tuple[str, ...] = ("logits",),
        model: str | None = None,
        allow: tuple[str, ...] = (),
        pads: int = 0,
    ) -> "Report":
        """Judge arrays by tap names, or a dump on disk, and return the report if they are right.

        tensors: what np.asarray takes, or PyTorch tensors. allow: the choices that
        are declared, as `golden check --allow` has them. pads: how many tokens came before the
        golden's, masked. Raises AssertionError with the report as text if they are not right; with
        --golden-record, records again and skips the test.
        """
        __tracebackhide__ = True
        if self.record:
            self.record_again(model)
            pytest.skip(f"recorded {self.directory} again")
        from .golden import as_text, check

        report = check(
            self.directory, tensors, dtype, names, require, model, allow=allow, pads=pads
        )
        if report.summary != "passed":
            raise AssertionError(as_text(report))
        return report

    def record_again(self, model: str | None = None) -> None:
        """Record the same prompt and the same taps anew, from the golden's model."""
        from .golden.record.record import record
        from .golden.record.source import path_of
        from .loading.open import open_reference
        from .store.find import find_model

        old = self.bundle
        schedule, name = old.schedule, model or path_of(old.source, old.place)
        new = record(
            open_reference(find_model(name)),
            schedule.tokens[: schedule.prompt],
            decode=len(schedule.tokens) - schedule.prompt,
            chunk=schedule.steps[0],
            taps=tuple(old.values),
            text=old.prompt,
            source=name,
            detect=bool(old.detectability),
        )
        new.save(self.directory)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Any:
    """`golden("DIR")`: the golden in a directory; a relative one is beside the test's file."""
    record = bool(request.config.getoption("--golden-record"))

    def find(directory: str | Path) -> Golden:
        return Golden(request.path.parent / directory, record)

    return find
