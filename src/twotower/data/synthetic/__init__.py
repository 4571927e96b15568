"""A synthetic shop with planted taste, whose best reachable metrics are known."""
