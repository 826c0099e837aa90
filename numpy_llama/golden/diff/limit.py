"""Up to which distance two programs are alike: a rule where nothing is known of the model.

Nobody knows then which of the two is right, nor what the model does to an error on its way. So the
limit between rounding and difference is a rule, measured on right programs: see `limit`.
"""

import math
from collections.abc import Callable, Mapping

from ..replay.metrics import DIVERGENT
from ..replay.precision import UNIT_ROUNDOFF

ROUNDOFF = UNIT_ROUNDOFF | {"float64": 2.0**-53}

# Right programs are at most 52 √t apart at float32, and 12 √t at the narrow dtypes, whose sums are
# accumulated in float32: measured at tap number t over the kit and SmolLM2 (`large-norms` is
# not bounded so: its softmax amplifies an error by thousands, and needs -m).
SPREAD = {"float64": 64.0, "float32": 64.0, "float16": 16.0, "bfloat16": 16.0}
MOST = 0.5  # of the size of the values: no rounding of a program that is of any use does more

# From a tap and its number in causal order to the distance up to which it is alike.
Limit = Callable[[str, int], float]


def coarser(*dtypes: str) -> str:
    """Of several dtypes, the one that rounds most."""
    return max(dtypes, key=lambda dtype: ROUNDOFF[dtype])


def limit(dtype: str) -> Limit:
    """Up to which distance two programs may be alike, if nothing is known of the model.

    SPREAD · u · √t: of t operations one after the other, each rounds by u or so, and roundings
    that know nothing of each other add up as a random walk does.
    """
    u, spread = ROUNDOFF[dtype], SPREAD[dtype]
    return lambda tap, t: min(spread * u * math.sqrt(t), MOST)


def measured_limit(*floors: Mapping[str, float]) -> Limit:
    """The same where the model's own floors are known: the largest of them, as in a check."""
    return lambda tap, t: min(DIVERGENT * max(floor[tap] for floor in floors), MOST)
