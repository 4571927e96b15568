"""Nearest-neighbour search over item vectors, behind one protocol."""
