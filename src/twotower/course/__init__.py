"""The learning path: nine steps, each of which trains a small model with the learner's choice.

The package knows no web: a step's experiment is a function of the choices, and reports its progress
to a `Watch`. `worker.py` runs experiments and snippets in a process of their own.
"""
