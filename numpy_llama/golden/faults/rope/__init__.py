"""Mistakes in rotary position embedding."""

from . import frequencies, pairs, scaling, table, turn

FAULTS = (*pairs.FAULTS, *frequencies.FAULTS, *scaling.FAULTS, *turn.FAULTS, *table.FAULTS)
