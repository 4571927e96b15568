"""Held-out rows measured: by hand with popularity, and through a bundle."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from tests.data.small_shop import ITEMS, TEST, TRAIN, USERS, VALIDATION, config
from twotower.config import parse_config
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import KNOWN, Ranked
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.entities import EntityTable, Features, tensor_of
from twotower.data.dataset.splits import Parts
from twotower.data.tables.tables import Tables
from twotower.errors import DataError
from twotower.evaluation.metrics import METRICS
from twotower.models.baselines.popularity_ranker import PopularityRanker
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.workflow import evaluate as evaluate_module
from twotower.workflow.evaluate import Ranker, evaluate
from twotower.workflow.evaluate_bundle import evaluate_bundle
from twotower.workflow.training.train import known_events

# Nums of the shop: users u1 u2 u9 = 2 3 4 (warm), u3 u7 = 5 6; items i1 i2 i4 = 2 3 4 (warm),
# i3 = 5, i8 outside. Training: i2 twice, i1 and i4 once.


def shop(test: pl.DataFrame = TEST) -> Dataset:
    tables = Tables(pl.concat([TRAIN, VALIDATION]), USERS, ITEMS, test=test)
    return Dataset.from_parts(config(), tables, Parts(TRAIN, VALIDATION, test, "given", ""))


def rows(*pairs: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": [user for user, _ in pairs],
            "item_id": [item for _, item in pairs],
            "timestamp": list(range(60, 60 + len(pairs))),
            "device": ["phone"] * len(pairs),
        }
    )


class Planted:
    """Answers the same items to everybody, and keeps what it was asked."""

    def __init__(self, data: Dataset, answer: list[int]) -> None:
        self.users: EntityTable = data.users
        self.items: EntityTable = data.items
        self.item_counts = data.train.item_counts()
        self.seen = Ragged.empty(len(data.users))
        self.answer = answer
        self.asked: list[list[int]] = []
        self.contexts: list[list[int] | None] = []

    def top_k(
        self,
        user_num: NDArray[np.integer],
        k: int,
        *,
        context: Features | None = None,
        mask_seen: bool = True,
        excluded: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Ranked:
        self.asked.append(user_num.tolist())
        self.contexts.append(None if context is None else tensor_of(context, "device").tolist())
        nums = np.tile(np.array(self.answer[:k], dtype=np.int64), (len(user_num), 1))
        path = np.full(len(user_num), KNOWN, dtype=np.int8)
        return Ranked(nums, np.zeros(nums.shape, dtype=np.float32), path)


def untrained(data: Dataset) -> Recommender:
    model = TwoTower(data.config.retriever, data.schema, seed=0)
    return Recommender.build(model, data.train, data.config, histories=known_events(data))


def test_popularity_by_hand() -> None:
    # Popular: i2 (3), i1 (2), i4 (4), then i3 (5).
    # u3 took i3: rank 4 of 4. u7 took i8, outside. u1 has seen i2 and i1 (in validation) and took
    # i4, which is the first of what is left.
    data = shop()
    popularity = PopularityRanker.fit(data.train, seen=known_events(data).items)
    found = evaluate(popularity, data.test, k=4)
    assert found.user_num.tolist() == [2, 5, 6]
    assert found.ranked.tolist() == [[4, 5, -1, -1], [3, 2, 4, 5], [3, 2, 4, 5]]
    assert found.per_query["recall@4"].tolist() == [1, 1, 0]
    assert found.per_query["mrr@4"].tolist() == [1, 1 / 4, 0]
    assert found.metrics["recall@4"] == pytest.approx(2 / 3)
    assert found.metrics["mrr@4"] == pytest.approx((1 + 1 / 4) / 3)
    assert found.paths == {"known": 0, "history": 0, "features": 0, "popular": 3}
    assert found.num_items == 4
    assert found.counts == {
        "rows": 3,
        "users_unknown_to_training": 2,
        "rows_with_items_unknown_to_training": 2,
        "rows_with_items_outside_the_catalogue": 1,
        "rows_masked_as_seen": 0,
        "rows_not_among_the_candidates": 0,
    }
    assert found.beyond["coverage@4"] == 1.0
    slices = {name: part["num_queries"] for name, part in found.slices.items()}
    assert slices == {"warm": 1, "cold_user": 0, "cold_item": 0, "both_cold": 2}
    assert found.slices["both_cold"]["recall@4"] == 0.5
    assert found.slices["cold_user"]["recall@4"] is None


def test_validation_rows_are_part_of_what_a_test_query_has_seen() -> None:
    data = shop(rows(("u1", "i4")))
    without = evaluate(PopularityRanker.fit(data.train), data.test, k=1)
    assert without.ranked.tolist() == [[2]]  # i1, which u1 took in validation
    with_them = evaluate(
        PopularityRanker.fit(data.train, seen=known_events(data).items), data.test, k=1
    )
    assert with_them.ranked.tolist() == [[4]]


def test_in_a_slice_only_its_own_items_count() -> None:
    data = shop(rows(("u1", "i4"), ("u1", "i3"), ("u1", "i8"), ("u3", "i2")))
    found = evaluate(Planted(data, [4, 3, 2, 5]), data.test, k=2)
    assert found.metrics["recall@2"] == pytest.approx((1 / 3 + 1) / 2)
    assert found.slices["warm"]["recall@2"] == 1.0
    assert found.slices["cold_user"]["recall@2"] == 1.0
    assert found.slices["cold_item"] == {
        "num_queries": 1,
        "num_relevant": 2,
        "recall@2": 0.0,
        "ndcg@2": 0.0,
        "hit@2": 0.0,
        "mrr@2": 0.0,
    }
    assert np.isnan(found.per_slice["cold_item"]["recall@2"]).tolist() == [False, True]


def test_items_that_were_seen_before_are_misses_and_counted() -> None:
    data = shop(rows(("u1", "i2"), ("u1", "i4"), ("u2", "i1")))
    popularity = PopularityRanker.fit(data.train)
    found = evaluate(popularity, data.test, k=4)
    assert found.counts["rows_masked_as_seen"] == 2
    assert found.per_query["recall@4"].tolist() == [0.5, 0.0]
    shown = evaluate(popularity, data.test, k=4, mask_seen=False)
    assert shown.counts["rows_masked_as_seen"] == 0
    assert shown.metrics["recall@4"] == 1.0


def test_an_outside_item_in_what_was_seen_is_nobodys_repeated_row() -> None:
    # As a key of u2, -1 falls on the last item of u1, i3.
    data = shop(rows(("u1", "i3"), ("u2", "i4")))
    popularity = PopularityRanker.fit(
        data.train, seen=Ragged.group(np.array([3]), np.array([-1]), len(data.users))
    )
    assert evaluate(popularity, data.test, k=4).counts["rows_masked_as_seen"] == 0


def test_cold_candidates() -> None:
    data = shop(rows(("u1", "i4"), ("u1", "i3"), ("u2", "i8"), ("u9", "i2")))
    found = evaluate(PopularityRanker.fit(data.train), data.test, k=2, candidates="cold")
    assert found.num_items == 1
    assert found.user_num.tolist() == [2, 3]
    assert found.ranked.tolist() == [[5, -1], [5, -1]]
    assert found.per_query["recall@2"].tolist() == [1.0, 0.0]
    assert found.counts["rows"] == 2
    assert found.counts["rows_not_among_the_candidates"] == 2
    assert found.slices["warm"]["num_queries"] == 0


def test_cold_candidates_where_there_are_none() -> None:
    data = shop(rows(("u1", "i4"), ("u2", "i8")))
    with pytest.raises(DataError) as error:
        evaluate(PopularityRanker.fit(data.train), data.test, candidates="cold")
    assert str(error.value) == (
        'evaluation.candidates is "cold", and no item of the catalogue is in a test row and in no '
        'training row. Fix: set evaluation.candidates = "all", or hold items out of training.'
    )


def test_warm_candidates() -> None:
    data = shop(rows(("u1", "i4"), ("u1", "i3"), ("u2", "i8"), ("u9", "i2")))
    found = evaluate(PopularityRanker.fit(data.train), data.test, k=4, candidates="warm")
    warm = np.flatnonzero(data.train.item_counts())
    assert found.num_items == len(warm)
    assert set(found.ranked.ravel().tolist()) <= {-1, *warm.tolist()}
    assert found.counts["rows_not_among_the_candidates"] == 2
    assert found.slices["cold_item"]["num_queries"] == 0


def test_warm_candidates_where_there_are_none() -> None:
    data = shop(rows(("u1", "i3"), ("u2", "i8")))
    with pytest.raises(DataError) as error:
        evaluate(PopularityRanker.fit(data.train), data.test, candidates="warm")
    assert str(error.value) == (
        'evaluation.candidates is "warm", and training saw no item of a test row. Fix: set '
        'evaluation.candidates = "all".'
    )


def test_an_empty_part() -> None:
    data = shop()
    with pytest.raises(DataError) as error:
        evaluate(PopularityRanker.fit(data.train), data.test.take(np.zeros(0, dtype=np.int64)))
    assert str(error.value) == (
        "there is no test row to measure on. Fix: give a larger test part, or --test FILE."
    )


def test_k_that_is_no_count() -> None:
    data = shop()
    with pytest.raises(ValueError, match="parameter") as error:
        evaluate(PopularityRanker.fit(data.train), data.test, k=0)
    assert str(error.value) == "The 'k' parameter must be at least 1. Got 0 instead."


def test_a_query_has_the_context_of_the_users_first_row() -> None:
    log = rows(("u3", "i1"), ("u1", "i4"), ("u3", "i2")).with_columns(
        device=pl.Series(["desk", "phone", "phone"])
    )
    planted = Planted(shop(log), [2])
    evaluate(planted, shop(log).test, k=1)
    assert planted.asked == [[2, 5]]
    assert planted.contexts == [[4, 3]]  # phone is 4, desk 3


def test_queries_are_asked_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    data = shop()
    whole = evaluate(untrained(data), data.test, k=3)
    monkeypatch.setattr(evaluate_module, "CHUNK", 2)
    planted = Planted(data, [2, 3, 4])
    evaluate(planted, data.test, k=3)
    assert planted.asked == [[2, 5], [6]]
    cut = evaluate(untrained(data), data.test, k=3)
    assert cut.ranked.tolist() == whole.ranked.tolist()
    assert cut.to_json() == whole.to_json()


def test_the_order_of_the_rows_makes_no_difference() -> None:
    data = shop(rows(("u1", "i4"), ("u3", "i3"), ("u7", "i1"), ("u1", "i3"), ("u2", "i4")))
    ranker: Ranker = untrained(data)
    there = evaluate(ranker, data.test, k=3)
    back = evaluate(ranker, data.test.take(np.array([4, 2, 3, 1, 0])), k=3)
    assert back.to_json() == there.to_json()


def test_every_path_is_counted() -> None:
    data = shop()
    found = evaluate(untrained(without_contexts(data)), without_contexts(data).test, k=3)
    # u1 is known, u3 has features, u7 is in no file.
    assert found.paths == {"known": 1, "history": 0, "features": 1, "popular": 1}


def without_contexts(data: Dataset) -> Dataset:
    features = data.config.features.model_copy(update={"context": {}})
    bare = data.config.model_copy(update={"features": features})
    return Dataset.from_parts(bare, data.tables, data.parts)


def test_a_model_that_knows_the_answer_gets_it() -> None:
    # Ids alone, no layer: a user's vector is its row of the table. It is planted: the very vector
    # of the item that the user takes in the test part.
    log = pl.DataFrame({"user_id": [0, 1, 2, 3], "item_id": [10, 11, 12, 13]})
    test = pl.DataFrame({"user_id": [0, 1, 2, 3], "item_id": [12, 13, 10, 11]})
    data = Dataset.from_parts(
        parse_config({"data": {"interactions": "log.csv"}}),
        Tables(log, test=test),
        Parts(log, log.clear(), test, "given", ""),
    )
    recommender = untrained(data)
    tables = [table for table in recommender.served.towers.parameters() if table.shape == (6, 64)]
    assert len(tables) == 2
    with torch.no_grad():
        users, items = tables
        users[torch.from_numpy(data.test.user_num).long()] = items[
            torch.from_numpy(data.test.item_num).long()
        ]
    found = evaluate(recommender, data.test, k=1)
    assert found.metrics == {f"{name}@1": 1.0 for name in METRICS}
    assert found.paths["known"] == 4


# --- from a bundle ---


def bundle_of(folder: Path, log: pl.DataFrame, test: pl.DataFrame, **evaluation: object) -> Path:
    data = Dataset.from_parts(
        parse_config({"data": {"interactions": "log.csv"}, "evaluation": {"k": 2, **evaluation}}),
        Tables(log, test=test),
        Parts(log, log.clear(), test, "given", ""),
    )
    untrained(data).save(folder / "bundle", heldout=test)
    return folder / "bundle"


LOG = pl.DataFrame({"user_id": [1, 2, 3, 3], "item_id": ["a", "b", "c", "d"]})
HELD_OUT = pl.DataFrame({"user_id": [1, 9], "item_id": ["b", "a"]})


def test_a_bundle_on_its_own_rows(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, LOG, HELD_OUT)
    found = evaluate_bundle(bundle)
    assert (found.k, len(found.user_num), found.num_items) == (2, 2, 4)
    assert found.paths == {"known": 1, "history": 0, "features": 0, "popular": 1}
    # User 9 gets the items in the order of their nums, as each was taken once: a is the first.
    assert found.slices["cold_user"]["recall@2"] == 1.0
    assert found.notes == ()
    assert evaluate_bundle(bundle, k=3).k == 3
    json.dumps(found.to_json(), allow_nan=False)


def test_a_bundle_on_a_file(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, LOG, HELD_OUT)
    file = tmp_path / "test.csv"
    file.write_text("user_id,item_id\n1,b\n1,b\n2,zz\n77,a\n78,a\n", encoding="utf-8")
    found = evaluate_bundle(bundle, str(file))
    assert len(found.user_num) == 4
    assert found.counts == {
        "rows": 4,
        "users_unknown_to_training": 2,
        "rows_with_items_unknown_to_training": 1,
        "rows_with_items_outside_the_catalogue": 1,
        "rows_masked_as_seen": 0,
        "rows_not_among_the_candidates": 0,
    }
    assert found.notes == (
        f"{file}: 1 of 5 rows repeat user_id, item_id of another: each set became one row "
        '(data.duplicates = "max").',
    )
    assert found.slices["cold_user"]["num_queries"] == 2
    assert found.to_json()["notes"] == list(found.notes)


def test_a_bundle_with_settings_of_its_own(tmp_path: Path) -> None:
    again = pl.DataFrame({"user_id": [1], "item_id": ["a"]})
    masked = evaluate_bundle(bundle_of(tmp_path / "1", LOG, again, k=4))
    assert (masked.metrics["recall@4"], masked.counts["rows_masked_as_seen"]) == (0.0, 1)
    shown = evaluate_bundle(bundle_of(tmp_path / "2", LOG, again, k=4, mask_seen=False))
    assert (shown.metrics["recall@4"], shown.counts["rows_masked_as_seen"]) == (1.0, 0)


def test_a_bundle_without_held_out_rows(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, LOG, HELD_OUT.clear())
    with pytest.raises(DataError) as error:
        evaluate_bundle(bundle)
    assert str(error.value) == (
        f"{bundle}: holds no held-out row to measure on. Fix: give --test FILE."
    )


def test_a_file_with_user_ids_of_another_kind(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, LOG, HELD_OUT)
    file = tmp_path / "test.csv"
    file.write_text("user_id,item_id\n01,b\nanna,a\nbob,a\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        evaluate_bundle(bundle, str(file))
    assert str(error.value) == (
        f"{file}, column 'user_id': the model was trained on integer user ids, and none of the 3 "
        "rows has one (found '01'). Fix: name the column with the user ids of training."
    )


def test_users_that_only_the_test_file_spells_as_text_are_unknown(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, LOG, HELD_OUT)
    file = tmp_path / "test.csv"
    file.write_text("user_id,item_id\n1,b\n01,a\nbob,a\n", encoding="utf-8")
    counts = evaluate_bundle(bundle, str(file)).counts
    assert (counts["rows"], counts["users_unknown_to_training"]) == (3, 2)


# --- real data ---


DISCOUNTS = [1 / math.log2(rank + 1) for rank in range(1, 21)]


@pytest.mark.real_data
def test_popularity_on_gowalla(real_data: Path) -> None:
    """Popularity needs no training: this checks the measuring alone, against a plain loop."""
    data = Dataset.read(
        parse_config(
            {
                "data": {
                    "interactions": str(real_data / "gowalla" / "train.parquet"),
                    "split": {
                        "method": "given",
                        "test": str(real_data / "gowalla" / "test.parquet"),
                        "validation_fraction": 0.0,
                    },
                }
            }
        )
    )
    found = evaluate(PopularityRanker.fit(data.train), data.test, k=20)
    assert len(found.user_num) == 29_858
    assert found.counts["rows_masked_as_seen"] == 0
    order = np.argsort(-data.train.item_counts(), kind="stable").tolist()
    recalls, ndcgs = [], []
    for history, wanted in zip(data.train.by_user(), data.test.by_user(), strict=True):
        if not len(wanted):
            continue
        seen, relevant = set(history.tolist()), set(wanted.tolist())
        top = list(itertools.islice((item for item in order if item not in seen), 20))
        gains = [item in relevant for item in top]
        ideal = sum(DISCOUNTS[: len(relevant)])
        recalls.append(sum(gains) / len(relevant))
        ndcgs.append(sum(np.compress(gains, DISCOUNTS)) / ideal)
    assert found.metrics["recall@20"] == pytest.approx(np.mean(recalls))
    assert found.metrics["ndcg@20"] == pytest.approx(np.mean(ndcgs))
