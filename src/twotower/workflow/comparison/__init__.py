"""Comparison of models: one split, one tuning budget, one protocol, one report."""
