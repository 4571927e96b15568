"""Deep retrieval for recommender systems: from a table of interactions to recommendations."""

__version__ = "0.1.0"
