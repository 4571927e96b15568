"""New items are encoded and answered without training; what was there stays."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from twotower.config import Config
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.entities import EntityTable
from twotower.data.dataset.splits import Parts
from twotower.data.tables.tables import Tables
from twotower.errors import BundleError, DataError
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.additions import with_items
from twotower.workflow.add_items import add_items
from twotower.workflow.training.fit import fit

USER: dict[str, Any] = {"history": {"type": "history", "encoder": "mean", "ages": False}}


def shop(kind: str = "exact", user: dict[str, Any] | None = None) -> Recommender:
    """40 users each take items of one of two kinds; the 20 items of a kind are alike."""
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(40), 8)
    log = pl.DataFrame(
        {"user_id": rows, "item_id": 2 * rng.integers(0, 20, len(rows)) + rows % 2}
    ).unique(maintain_order=True)
    items = pl.DataFrame(
        {"item_id": range(40), "kind": ["odd" if n % 2 else "even" for n in range(40)]}
    )
    settings = Config.model_validate(
        {
            "data": {"interactions": "log.csv", "items": "items.csv"},
            "features": {
                "user": user or {},
                "item": {"id": {"dropout": 0.5}, "kind": {"type": "category"}},
            },
            "retriever": {"embedding_dim": 16},
            "training": {"epochs": 30, "layer_learning_rate": 0.01},
            "index": {"kind": kind},
        }
    )
    parts = Parts(log, log.clear(), log.clear(), "random", "")
    data = Dataset.from_parts(settings, Tables(log, items=items), parts)
    model = fit(TwoTower(settings.retriever, data.schema), data.train, config=settings)
    return Recommender.build(model, data.train, settings)


@pytest.fixture(scope="module")
def before() -> Recommender:
    return shop()


def test_categories_that_an_earlier_version_kept_as_numbers_stay_what_they_are() -> None:
    log = pl.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [0, 1, 0, 2]})
    items = pl.DataFrame({"item_id": [0, 1, 2], "code": [10.0, 9.1, 10.0]})
    settings = Config.model_validate(
        {
            "data": {"interactions": "log.csv", "items": "items.csv"},
            "features": {"item": {"code": {"type": "category"}}},
            "training": {"epochs": 1},
        }
    )
    parts = Parts(log, log.clear(), log.clear(), "random", "")
    data = Dataset.from_parts(settings, Tables(log, items=items), parts)
    model = TwoTower(settings.retriever, data.schema)
    recommender = Recommender.build(model, data.train, settings)
    numbers = items.select("item_id", "code")
    earlier = EntityTable(recommender.served.schema, "item", numbers)
    rows = pl.DataFrame({"item_id": [3], "code": ["9.1"]})
    more = with_items(replace(recommender.served, items=earlier), rows).items
    codes = dict(zip(more.frame["item_id"], more.frame["code"], strict=True))
    assert codes == {None: None, 0: "10", 1: "9.1", 2: "10", 3: "9.1"}
    read = more.features["code"].tolist()
    assert read[:-1] == earlier.features["code"].tolist()
    assert read[-1] == read[more.nums(pl.Series([1]))[0]]


def new(ids: list[int], kinds: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {"item_id": ids, "kind": kinds}, schema={"item_id": pl.Int64, "kind": pl.String}
    )


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_a_new_item_reaches_those_who_like_its_kind(kind: str) -> None:
    old = shop(kind)
    more = Recommender(with_items(old.served, new([100, 101], ["even", "odd"])))
    for user, wanted, other in ((0, 100, 101), (1, 101, 100)):
        (answer,) = more.recommend([user], k=42)
        ids = [item.item_id for item in answer.items]
        assert ids.index(wanted) < 20
        assert ids.index(other) > ids.index(wanted)
        assert 100 not in [item.item_id for item in old.recommend([user], k=42)[0].items]


def test_the_others_keep_their_scores_and_nums(before: Recommender) -> None:
    more = Recommender(with_items(before.served, new([100], ["even"])))
    assert more.items.ids[: len(before.items)].equals(before.items.ids)
    scores = {item.item_id: item.score for item in before.recommend([0], k=50)[0].items}
    after = {item.item_id: item.score for item in more.recommend([0], k=50)[0].items}
    assert set(after) == {*scores, 100}
    assert all(after[item] == pytest.approx(score, abs=1e-6) for item, score in scores.items())


def test_a_history_reads_new_items() -> None:
    more = Recommender(with_items(shop(user=USER).served, new([100, 101], ["even", "odd"])))
    nobody = pl.DataFrame({"user_id": [None, None]})
    even, odd = more.recommend_invented(nobody, k=10, histories=[[100], [101]])
    assert even.path == odd.path == "history"
    assert even.live
    assert sum(int(item.item_id) % 2 for item in even.items) <= 1
    assert sum(int(item.item_id) % 2 for item in odd.items) >= 9
    assert 100 not in [item.item_id for item in even.items]


def test_an_item_without_a_known_feature_has_no_vector(before: Recommender) -> None:
    more = with_items(before.served, new([100], [None]))
    assert len(more.index.item_nums) == len(before.served.index.item_nums)
    assert len(more.items) == len(before.items) + 1


def test_a_bundle_stays_and_a_new_version_is_written(before: Recommender, tmp_path: Path) -> None:
    told: dict[str, Any] = {
        "metrics": {"metrics": {"ndcg@20": 0.5}},
        "training": {"retriever": {}},
    }
    before.save(tmp_path / "b", **told)
    new([100, 101, 102], ["even", "odd", None]).write_csv(tmp_path / "new.csv")
    files = {file: file.read_bytes() for file in (tmp_path / "b").rglob("*") if file.is_file()}
    added = add_items(tmp_path / "b", str(tmp_path / "new.csv"))
    assert added.bundle == (tmp_path / "b-2").resolve()
    assert (added.items, added.vectors, added.catalogue) == (3, 2, 43)
    assert added.notes == ()
    assert {file: file.read_bytes() for file in files} == files
    loaded = Recommender.load(added.bundle)
    assert {name: loaded.served.manifest[name] for name in told} == told
    assert loaded.served.manifest["stages"] is None
    assert 100 in [item.item_id for item in loaded.recommend([0], k=42)[0].items]
    once_more = tmp_path / "more.csv"
    new([103], ["odd"]).write_csv(once_more)
    third = add_items(added.bundle, str(once_more))
    assert (third.bundle.name, third.catalogue) == ("b-3", 44)
    assert add_items(tmp_path / "b", str(once_more)).bundle.name == "b-4"
    message = f"{third.bundle}: is there already. Fix: name a folder that does not exist: a "
    with pytest.raises(BundleError, match=re.escape(message)):
        add_items(tmp_path / "b", str(once_more), third.bundle)


def test_values_that_training_has_not_seen_are_named(before: Recommender, tmp_path: Path) -> None:
    before.save(tmp_path / "b")
    new([100, 101, 102], ["even", "round", "flat"]).write_csv(tmp_path / "new.csv")
    assert add_items(tmp_path / "b", str(tmp_path / "new.csv")).notes == (
        "kind: training has not seen 2 of 3 values, which share one embedding until the next "
        "training: 'round', 'flat'.",
    )


def test_known_items_are_refused(before: Recommender) -> None:
    message = (
        "new.csv, row 2, column 'item_id': 1 of 2 items are in the catalogue already (found 7). "
        "Fix: remove them from the file: what the bundle knows of an item stays."
    )
    with pytest.raises(DataError, match=re.escape(message)):
        with_items(before.served, new([100, 7], ["even", "odd"]), file="new.csv")


def test_a_missing_column_is_named(before: Recommender) -> None:
    with pytest.raises(
        DataError, match=re.escape("column 'kind': the item tower reads this column")
    ):
        with_items(
            before.served, pl.DataFrame({"item_id": [100], "sort": ["even"]}), file="new.csv"
        )
