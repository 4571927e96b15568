"""Metrics, protocols, significance, report: they take arrays and know no model."""
