"""The synthetic shop that the steps learn from, and one with many items for the item tower."""

from __future__ import annotations

import io
from functools import cache
from typing import Any, Final

import polars as pl
from PIL import Image

from twotower.data.dataset.dataset import Dataset
from twotower.data.features.image_files import thumbnail
from twotower.data.synthetic.covers import covers
from twotower.data.synthetic.shop import SyntheticShop, generate

K: Final = 10
"""Cut-off of all metrics of the course."""
VALIDATION_FRACTION: Final = 0.15
MANY_VALIDATION_FRACTION: Final = 0.2
"""Larger than usual, so that there are new items enough among the validation rows."""
NUM_USERS, NUM_ITEMS, NUM_INTERACTIONS = 600, 300, 15_000
MANY_USERS, MANY_ITEMS, MANY_INTERACTIONS = 400, 2500, 60_000
"""What a word or a picture says is learned from the items that have it: 300 are too few."""
MOOD, LOOK = 1.1, 2.1
"""How much a description and a cover count in the shop of many items: more than in `shop`, so that
what each adds can be seen after a training of seconds."""
COVER_SIZE: Final = 8
"""Pixels a side of the covers that the item tower reads."""


@cache
def shop() -> SyntheticShop:
    """The shop, generated once per process."""
    return generate(
        num_users=NUM_USERS, num_items=NUM_ITEMS, num_interactions=NUM_INTERACTIONS, seed=0
    )


@cache
def shop_of_many_items() -> SyntheticShop:
    """A shop with enough items, and new ones among them, generated once per process."""
    return generate(
        num_users=MANY_USERS,
        num_items=MANY_ITEMS,
        num_interactions=MANY_INTERACTIONS,
        seed=0,
        mood=MOOD,
        look=LOOK,
    )


@cache
def items_with_covers() -> pl.DataFrame:
    """The items of `shop_of_many_items`, with each cover as a PNG file of `COVER_SIZE` squared."""
    made = shop_of_many_items()
    content = []
    for cover in covers(made.taste.items.look, seed=made.seed):
        file = io.BytesIO()
        pixels = thumbnail(cover, COVER_SIZE).reshape(3, COVER_SIZE, COVER_SIZE)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "PNG")
        content.append(file.getvalue())
    return made.items.with_columns(pl.Series("cover", content, dtype=pl.Binary))


def dataset(features: dict[str, Any] | None = None, **sections: Any) -> Dataset:
    """The shop as a dataset, split by time.

    Args:
        features: `[features]` of the config; None for ids only.
        sections: further sections of the config.
    """
    made = shop()
    return _split(made, made.items.drop("cover"), VALIDATION_FRACTION, features, sections)


def dataset_of_many_items(
    features: dict[str, Any], *, with_covers: bool = False, **sections: Any
) -> Dataset:
    """The shop of many items in the same way, with more validation rows, as those of new items are
    measured alone.

    Args:
        features: `[features]` of the config.
        with_covers: whether the items have their covers, which are drawn when first needed.
        sections: further sections of the config.
    """
    made = shop_of_many_items()
    items = items_with_covers() if with_covers else made.items.drop("cover")
    return _split(made, items, MANY_VALIDATION_FRACTION, features, sections)


def _split(
    made: SyntheticShop,
    items: pl.DataFrame,
    validation_fraction: float,
    features: dict[str, Any] | None,
    sections: dict[str, Any],
) -> Dataset:
    return Dataset.from_frames(
        made.interactions,
        made.users,
        items,
        features=features,
        split={"validation_fraction": validation_fraction},
        evaluation={"k": K},
        **sections,
    )
