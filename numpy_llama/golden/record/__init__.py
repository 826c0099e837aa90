"""A golden: what a correct model gives, how noisy each dtype is, and which faults it can show."""

from .bundle import Bundle, load
from .record import record

__all__ = ["Bundle", "load", "record"]
