"""Where the oracles are left out, their packages are not imported: that alone takes 10 seconds."""

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip files that need PyTorch under `-m "not oracle …"`, which would deselect them all."""
    without = "not oracle" in config.getoption("markexpr")
    needs = collection_path.suffix == ".py" and 'importorskip("torch")' in (
        collection_path.read_text()
    )
    return True if without and needs else None
