"""A small shop to tune, whose trials take a second."""

from __future__ import annotations

from pathlib import Path

from twotower.config import Config, load_config
from twotower.data.synthetic.shop import generate, write

QUICK = (
    "training.epochs=2",
    "retriever.embedding_dim=8",
    "evaluation.k=5",
    "retriever.blend=false",
)


IDS_ONLY = ("features.user={}", "features.item={}")


def write_shop(folder: Path) -> Path:
    """The config of a shop."""
    path = folder / "twotower.toml"
    catalogue = generate(num_users=300, num_items=100, num_interactions=6000)
    path.write_text(write(catalogue, folder), encoding="utf-8")
    return path


def config_of(path: Path, *overrides: str) -> Config:
    """The config, with settings for quick trials."""
    return load_config(path, [*QUICK, *overrides])
