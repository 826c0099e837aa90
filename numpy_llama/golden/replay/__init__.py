"""Run a model over a fixed sequence, see every tap; at another precision, with a stage changed."""
