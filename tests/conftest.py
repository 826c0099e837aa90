"""Settings for the whole test run."""

import os

# The models here are tiny: more threads only wait for each other. Read when NumPy is imported.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from hypothesis import settings  # noqa: E402

# The same examples in every run, so that a failure is everyone's; no deadline, so that a busy
# machine is no failure. `pytest --hypothesis-profile=default` looks for new examples.
settings.register_profile("numpy_llama", deadline=None, derandomize=True)
settings.load_profile("numpy_llama")
