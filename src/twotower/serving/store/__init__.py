"""The durable store behind the live service: events, impressions, items, versions, keys."""
