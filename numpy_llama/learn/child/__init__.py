"""A learner's file in a process of its own: its examples, then the whole model with it."""
