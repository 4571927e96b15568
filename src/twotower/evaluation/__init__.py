"""Metrics, protocols, significance and reports; functions take arrays, not models."""
