"""Towers, losses and baselines."""
