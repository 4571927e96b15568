"""Cells to values: numbers, times, ids, and the spelling of each."""
