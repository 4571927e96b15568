"""The compiled architecture as a graph, and a real batch sent through it."""
