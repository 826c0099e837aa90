"""Mistakes in positions and in the KV cache, most of them invisible until the first decode step."""

from . import cache, decode, padding

FAULTS = (*decode.FAULTS, *cache.FAULTS, *padding.FAULTS)
