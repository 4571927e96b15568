"""The loop, its optimiser and its checkpoints."""
