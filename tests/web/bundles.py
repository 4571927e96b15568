"""A small shop, trained once for all tests of the service."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from twotower.config import load_config
from twotower.data.synthetic import generate, write
from twotower.workflow.train import train_bundle

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
epochs = 2
"""


def train_shop(folder: Path, bundle: Path, *, seed: int = 0, overrides: tuple[str, ...] = ()) -> None:
    """Train on a synthetic shop of 150 users and 120 items, and write a bundle."""
    catalogue = generate(num_users=150, num_items=120, num_interactions=3000, seed=0)
    (folder / "shop").mkdir(parents=True, exist_ok=True)
    config = folder / "shop" / "twotower.toml"
    config.write_text(write(catalogue, folder / "shop") + MORE, encoding="utf-8")
    quiet = Console(file=io.StringIO())
    settings = load_config(config, (f"training.seed={seed}", *overrides))
    train_bundle(settings, bundle, console=quiet)
