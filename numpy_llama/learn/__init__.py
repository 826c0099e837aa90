"""Exercises: write a Llama stage by stage, and let the judge say what is wrong.

course/ has a right file for each stage; the stubs that a learner begins with are these files
without their bodies. A check runs a learner's file in a process of its own (child/), with its
functions in place of ours, and gives what comes out to the judge of golden/.
"""
