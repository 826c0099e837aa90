"""A golden in the formats of other languages, and the C header that writes taps."""
