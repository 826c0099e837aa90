"""The course: its stages, a right file for each, examples to check by hand, what is learned."""
