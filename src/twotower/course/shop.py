"""The synthetic shop that all steps learn from."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final

import polars as pl

from twotower.data.dataset.dataset import Dataset
from twotower.data.synthetic.covers import draw_covers
from twotower.data.synthetic.shop import SyntheticShop, generate

K: Final = 10
"""Cut-off of all metrics of the course."""
VALIDATION_FRACTION: Final = 0.15
"""Larger than usual, so that there are new items enough among the validation rows."""
NUM_USERS, NUM_ITEMS, NUM_INTERACTIONS = 600, 300, 15_000


@cache
def shop() -> SyntheticShop:
    """The shop, generated once per process."""
    return generate(
        num_users=NUM_USERS, num_items=NUM_ITEMS, num_interactions=NUM_INTERACTIONS, seed=0
    )


@cache
def items_with_covers() -> pl.DataFrame:
    """The items, with the PNG file of each cover as bytes."""
    made = shop()
    names = [f"{item_id}.png" for item_id in made.items["item_id"]]
    with tempfile.TemporaryDirectory() as folder:
        covers = Path(folder) / "covers"
        draw_covers(names, made.taste.items.look, covers, seed=made.seed)
        content = [(covers / name).read_bytes() for name in names]
    return made.items.with_columns(pl.Series("cover", content, dtype=pl.Binary))


def dataset(
    features: dict[str, Any] | None = None, *, covers: bool = False, **sections: Any
) -> Dataset:
    """The shop as a dataset, split by time.

    Args:
        features: `[features]` of the config; None for ids only.
        covers: whether the items have their covers, which are drawn when first needed.
        sections: further sections of the config.
    """
    made = shop()
    items = items_with_covers() if covers else made.items.drop("cover")
    return Dataset.from_frames(
        made.interactions,
        made.users,
        items,
        features=features,
        split={"validation_fraction": VALIDATION_FRACTION},
        evaluation={"k": K},
        **sections,
    )
