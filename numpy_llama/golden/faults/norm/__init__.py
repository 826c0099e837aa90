"""Mistakes in RMSNorm."""

from . import order, output, statistic

FAULTS = (*statistic.FAULTS, *output.FAULTS, *order.FAULTS)
