"""Parsing of cells: numbers, times and ids."""
