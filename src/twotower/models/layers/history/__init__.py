"""Encoders of histories: what the query tower reads of a user's latest interactions."""
