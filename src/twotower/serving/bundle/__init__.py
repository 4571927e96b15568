"""A recommender on disk, and new items added to it."""
