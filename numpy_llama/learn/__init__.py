"""Exercises: write a Llama stage by stage, and let the judge say what is wrong.

solutions/ is the course: one right file a stage. The stubs that a learner begins with are these
files without their bodies. A check puts the learner's functions into our Llama, in a process of
their own, and gives what comes out to the judge of golden/.
"""
