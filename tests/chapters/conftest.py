"""One run of the real model for all tests of the chapters that need it."""

import pytest

from docs.learn.figures.run import Run
from numpy_llama.store.find import DEFAULT_MODEL, local_models


@pytest.fixture(scope="session")
def one_run():
    """Computes nothing until it is asked."""
    return Run()


@pytest.fixture
def run(request, one_run):
    """The run; skips where a test needs the model and it is not there."""
    if request.node.get_closest_marker("smollm2") and DEFAULT_MODEL not in local_models():
        pytest.skip("`make model` gets the model")
    return one_run
