"""Every format that is read, by name."""

from tests.fuzz import hub, judge, tokenizers, weights
from tests.fuzz.format import Build

FORMATS: dict[str, Build] = weights.FORMATS | tokenizers.FORMATS | judge.FORMATS | hub.FORMATS
