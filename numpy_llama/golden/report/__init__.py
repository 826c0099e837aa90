"""A verdict and its diagnosis as text, JSON and HTML."""
