"""The interactive page of the HTTP API, at `/docs`."""
