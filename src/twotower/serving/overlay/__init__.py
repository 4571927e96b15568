"""Items that were added, changed or removed at run time, laid over a bundle."""
