"""Batches for training, and samplers of negatives."""
