from __future__ import annotations

from pathlib import Path

import polars as pl

import twotower as tt
from twotower.config import load_config
from twotower.data.synthetic.shop import generate
from twotower.workflow.setup.init.write_config import write_config


def test_frames_have_the_features_that_init_writes_for_their_files(tmp_path: Path) -> None:
    shop = generate(num_users=120, num_items=60, num_interactions=1500)
    items = shop.items.with_columns(history=pl.col("price").round().cast(pl.Int64) % 4)
    for name, frame in (("log", shop.interactions), ("users", shop.users), ("items", items)):
        frame.write_parquet(tmp_path / f"{name}.parquet")
    written = write_config(
        tmp_path / "config",
        *(str(tmp_path / f"{name}.parquet") for name in ("log", "users", "items")),
    )
    features = tt.guess_features(shop.users.to_pandas(), items.lazy())
    data = tt.Dataset.from_frames(shop.interactions, shop.users, items, features=features)
    expected = load_config(written.path).features
    assert data.config.features == expected
    assert features["item"]["history_column"]["column"] == "history"


def test_without_tables_only_the_history_is_a_feature() -> None:
    assert tt.guess_features() == {"user": {"history": {"type": "history", "encoder": "attention"}}}


def test_the_key_is_no_feature_whatever_its_name() -> None:
    users = pl.DataFrame({"customer": range(10, 50), "city": ["Rome", "Oslo"] * 20})
    found = tt.guess_features(users, columns={"user_id": "customer"})
    assert list(found["user"]) == ["city", "history"]
