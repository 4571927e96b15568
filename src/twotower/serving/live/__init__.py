"""Answering while events, items and versions change: what a worker process of the service does."""
