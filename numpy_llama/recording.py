"""StepRecorder: every intermediate of a prefill and of the decode steps after it."""

import numpy as np

from .config import LlamaConfig
from .taps import TAPS, Recorder

FIRST = next(iter(TAPS))  # the tap with which every forward begins


class StepRecorder:
    """A tap for several forwards, as generation makes them: one Recorder each, in `steps`.

        record = StepRecorder(model.config)
        ids = list(generate(model, prompt, 3, tap=record))
        record.steps[0].arrays["layers.0.q"]  # (P, H, hd), the prompt's
        record.steps[1].arrays["layers.0.q"]  # (1, H, hd), the first generated token's

    Raises what Recorder raises, a name given twice in one forward included.
    """

    def __init__(self, config: LlamaConfig):
        self.config = config
        self.steps: list[Recorder] = []

    def __call__(self, name: str, array: np.ndarray) -> None:
        if name == FIRST or not self.steps:
            self.steps.append(Recorder(self.config))
        self.steps[-1](name, array)
