"""Two programs' dumps of the same tokens against each other; no golden is needed."""
