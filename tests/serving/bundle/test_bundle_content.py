"""A bundle of a shop whose items have texts, pictures and vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.data.content import png, sentence_model, vision_model, work
from tests.data.encoded import same
from twotower.config import load_config
from twotower.data.dataset.dataset import Dataset
from twotower.serving.answer.recommender import Recommender
from twotower.workflow.training.fit import fit

__all__ = ["work"]

CONFIG = """
[data]
interactions = "log.parquet"
items = "items.parquet"
users = "users.parquet"
[features.user.about]
type = "text"
min_count = 1
[features.item.plot]
type = "text"
num_buckets = 500
[features.item.cover]
type = "image"
size = 8
[features.item.back]
type = "image"
size = 9
[features.item.looks]
type = "vector"
[features.item.sound]
type = "vector"
file = "sound.npy"
normalize = true
[features.context.said]
type = "text"
min_count = 1
[retriever]
embedding_dim = 8
[training]
epochs = 2
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    users, items, rows = 20, 12, 300
    said = [None if n % 5 == 0 else f"word{n % 3} again" for n in range(rows)]
    pl.DataFrame(
        {
            "user_id": rng.integers(0, users, rows),
            "item_id": rng.integers(0, items, rows),
            "timestamp": np.arange(rows) * 9000,
            "said": said,
        }
    ).write_parquet(tmp_path / "log.parquet")
    pl.DataFrame(
        {"user_id": range(users), "about": [f"likes w{n % 4}" for n in range(users)]}
    ).write_parquet(tmp_path / "users.parquet")
    for n in range(items - 1):
        (tmp_path / f"{n}.png").write_bytes(png("red" if n % 2 else "blue"))
    np.save(tmp_path / "sound.npy", rng.normal(size=(items, 3)))
    pl.DataFrame(
        {
            "item_id": range(items),
            "plot": [None, *(f"a king and {n % 3} ships" for n in range(1, items))],
            "cover": [f"{n}.png" for n in range(items)],
            "back": [b"broken", None, *(png("red") for _ in range(items - 2))],
            "looks": [[float(n), 1.0] if n else None for n in range(items)],
        }
    ).write_parquet(tmp_path / "items.parquet")
    (tmp_path / "twotower.toml").write_text(CONFIG)
    return tmp_path


def trained(shop: Path, *overrides: str) -> Recommender:
    from twotower.models.retriever.two_tower import TwoTower

    config = load_config(shop / "twotower.toml", overrides)
    data = Dataset.read(config)
    model = fit(TwoTower(config.retriever, data.schema), data.train, config=config)
    return Recommender.build(model, data.train, config)


def answers(recommender: Recommender) -> list[Any]:
    found = recommender.recommend([0, 5, "nobody"], k=4)
    return [[(item.item_id, round(item.score, 4)) for item in one.items] for one in found]


def test_a_bundle_answers_as_it_was_trained(shop: Path) -> None:
    recommender = trained(shop)
    recommender.save(shop / "bundle", metrics={}, heldout=None)
    loaded = Recommender.load(shop / "bundle")
    assert answers(loaded) == answers(recommender)
    assert loaded.served.schema.features == recommender.served.schema.features
    for name, column in recommender.items.features.items():
        assert same(loaded.items.features[name], column), name


def test_a_bundle_with_pretrained_encoders(shop: Path) -> None:
    text, vision = sentence_model(shop / "made"), vision_model(shop / "vit")
    recommender = trained(
        shop, f"features.item.plot.encoder='{text}'", f"features.item.cover.encoder='{vision}'"
    )
    recommender.save(shop / "bundle", metrics={}, heldout=None)
    loaded = Recommender.load(shop / "bundle")
    assert answers(loaded) == answers(recommender)
    assert loaded.served.schema.features == recommender.served.schema.features


def test_an_encoder_is_named_from_the_folder_of_the_config(shop: Path) -> None:
    (shop / "encoders" / "small").mkdir(parents=True)
    path = shop / "twotower.toml"
    named = load_config(path, ["features.item.plot.encoder='encoders/small'"])
    assert named.features.item["plot"].encoder == str(shop / "encoders" / "small")  # type: ignore[union-attr]
    named = load_config(path, ["features.item.plot.encoder='encoders/other'"])
    assert named.features.item["plot"].encoder == "encoders/other"  # type: ignore[union-attr]
