"""The conformance kit: its cases and weights, its coverage, and any program held against it."""
