"""What answers a request: bundle, recommender."""
