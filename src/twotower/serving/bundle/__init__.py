"""A trained model as it is served: in memory, on disk, and with new items added to it."""
