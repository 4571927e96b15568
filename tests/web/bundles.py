"""A small shop, trained once for all tests of the service."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from twotower.config import load_config
from twotower.data.synthetic.shop import generate, write
from twotower.workflow.training.train import train_bundle

MORE = """
[features.context.device]
type = "category"

[features.user.history]
type = "history"
encoder = "attention"
max_length = 20

[retriever]
embedding_dim = 16

[training]
epochs = 10
"""
UNTRAINED = (
    "training.epochs=1",
    "training.learning_rate=1e-9",
    "training.layer_learning_rate=1e-9",
    "retriever.blend=false",
)


def write_shop(folder: Path) -> Path:
    """The tables of a synthetic shop of 150 users and 120 items, and its config."""
    catalogue = generate(num_users=150, num_items=120, num_interactions=3000, seed=0)
    config = folder / "twotower.toml"
    config.write_text(write(catalogue, folder) + MORE, encoding="utf-8")
    return config


def train_shop(config: Path, bundle: Path, *overrides: str) -> None:
    """Train and write a bundle."""
    quiet = Console(file=io.StringIO())
    train_bundle(load_config(config, overrides), bundle, console=quiet)
