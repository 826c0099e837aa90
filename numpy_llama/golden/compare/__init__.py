"""A candidate against a golden, tap by tap, in floors: the verdict."""
