"""Lessons in deep learning for recommender systems: Markdown whose snippets run, as pages and as
notebooks."""
