"""Embedding tables, encoders and the layers that towers and rankers are made of."""
