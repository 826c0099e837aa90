"""Which faults a golden can see: a check that passes proves no more than that those are absent."""

import math
from collections.abc import Mapping

import numpy as np

from ...model import Llama
from ...taps import tap_names
from ..faults import CATALOGUE, Fault
from ..progress import Progress, no_progress
from ..replay.metrics import DIVERGENT, Groups, group_errors
from ..replay.precision import MEASURED, in_dtype
from ..replay.replay import run
from ..replay.rows import last_rows
from .bundle import Bundle
from .fields import Detection

MOST = 1e12  # a ratio that is larger, or infinite, says no more than this


def fault_errors(bundle: Bundle, fault: Fault, model: Llama) -> dict[str, Groups]:
    """How far from the golden a model with this fault is; ∞ for another shape."""
    T = len(bundle.schedule.tokens)
    taps = run(*fault.apply(model, bundle.schedule), bundle.values.keys())
    errors = {}
    for name, golden in bundle.values.items():
        got = last_rows(name, taps[name], T) if name in taps else np.empty(0)
        same = got.shape == golden.shape
        nothing = (math.inf,) * len(bundle.schedule.groups)
        errors[name] = group_errors(name, got, golden, bundle.schedule) if same else nothing
    return errors


def detection(errors: Mapping[str, Groups], bundle: Bundle, dtype: str) -> Detection:
    """The first tap, in causal order, at which an error of this size is above noise."""
    ratios = {tap: min(bundle.in_floors(tap, of, dtype), MOST) for tap, of in errors.items()}
    order = [tap for tap in tap_names(bundle.config.n_layers) if tap in ratios]
    first = next((tap for tap in order if ratios[tap] > DIVERGENT), None)
    shown = first or max(order, key=lambda tap: ratios[tap])
    return Detection(first is not None, shown, ratios[shown], ratios["logits"])


def detectability(
    model: Llama, bundle: Bundle, progress: Progress = no_progress
) -> dict[str, dict[str, Detection]]:
    """For each fault that this model can have, whether the golden sees it at each dtype."""
    single = in_dtype(model, "float32")
    faults = [fault for fault in CATALOGUE.values() if fault.applies(model.config)]
    seen = {}
    for done, fault in enumerate(faults):
        progress(done, len(faults), fault.id)
        errors = fault_errors(bundle, fault, single)
        seen[fault.id] = {dtype: detection(errors, bundle, dtype) for dtype in MEASURED}
    progress(len(faults), len(faults), "")
    return seen
