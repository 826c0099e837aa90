"""A golden: what a correct model gives, how noisy each dtype is, and which faults it can show."""
