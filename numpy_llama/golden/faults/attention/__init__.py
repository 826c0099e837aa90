"""Mistakes in attention."""

from . import heads, mask, scale, weights

FAULTS = (*scale.FAULTS, *mask.FAULTS, *heads.FAULTS, *weights.FAULTS)
