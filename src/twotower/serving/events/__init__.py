"""The durable store behind the live service: events, answers, items, the active version, keys."""
