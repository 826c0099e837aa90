"""Runs of differently changed models side by side, which share products with its matrices."""
