"""The model architecture as a graph, and traces of a real batch."""
