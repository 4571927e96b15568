"""The ranking stage in the live service, under an overlay of items too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.serving.asking import asking
from tests.serving.bundle.test_ncf_stage import EVERYBODY, shop
from tests.serving.live.test_worker import answer, ids, scores
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.additions import with_items
from twotower.serving.live.versions import Pool
from twotower.serving.live.worker import Worker
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import ItemChange, StoredEvent

NEW = {"genres": "opera|crime", "since": "2024-05-05"}


@pytest.fixture(params=["all", "ids"])
def worker(request: pytest.FixtureRequest, tmp_path: Path) -> Worker:
    shop(request.param).save(tmp_path / "bundle")
    return Worker(open_store(tmp_path / "events.sqlite"), Pool(tmp_path / "bundle"))


def test_answers_are_the_recommenders(worker: Worker) -> None:
    recommender = Recommender(worker.active().served)
    for user_id in EVERYBODY:
        expected = recommender.recommend([user_id], 9)[0]
        found = answer(worker, user_id, k=9)
        assert (found.path, ids(found)) == (expected.path, [i.item_id for i in expected.items])
        for one, other in zip(found.items, expected.items, strict=True):
            assert one.stage_scores == pytest.approx(dict(other.stage_scores), abs=1e-5)
            assert one.score == pytest.approx(other.score, abs=1e-5)
        if found.path != "popular":
            assert found.items[0].stage_scores.keys() == {"retrieve", "rank"}
            assert {"retrieve", "rank"} <= found.seconds.keys()


def test_given_items_are_ranked_as_the_answer_is(worker: Worker) -> None:
    found = answer(worker, "u1", k=9, mask_seen=False)
    ranked = worker.score(asking("u1", items=tuple(reversed(ids(found)))))
    assert scores(ranked) == pytest.approx(scores(found), abs=1e-5)
    assert ids(ranked) == ids(found)


def test_an_event_changes_what_the_ranker_reads(worker: Worker) -> None:
    before = answer(worker, "u1", k=9, mask_seen=False)
    assert before.live
    worker.store.append([StoredEvent("e1", "u1", "i4", 2_000_000_000)])
    after = answer(worker, "u1", k=9, mask_seen=False)
    assert scores(after) != scores(before)


def test_an_added_item_is_ranked_as_if_the_bundle_had_it(tmp_path: Path) -> None:
    import polars as pl

    recommender = shop("all")
    recommender.save(tmp_path / "bundle")
    rebuilt = Recommender(with_items(recommender.served, pl.DataFrame([{"item_id": "new", **NEW}])))
    worker = Worker(open_store(tmp_path / "events.sqlite"), Pool(tmp_path / "bundle"))
    worker.store.change_items([ItemChange("new", NEW)])
    for user_id in ("u1", "u2", "u3"):
        expected = rebuilt.recommend([user_id], 9, mask_seen=False)[0]
        found = answer(worker, user_id, k=9, mask_seen=False)
        assert "new" in ids(found)
        assert scores(found) == pytest.approx(
            {item.item_id: item.score for item in expected.items}, abs=1e-5
        )


def test_a_changed_item_has_the_scores_of_its_new_columns(tmp_path: Path) -> None:
    shop("all").save(tmp_path / "bundle")
    worker = Worker(open_store(tmp_path / "events.sqlite"), Pool(tmp_path / "bundle"))
    before = scores(answer(worker, "u1", k=9, mask_seen=False))
    worker.store.change_items([ItemChange("i3", NEW)])
    after = scores(answer(worker, "u1", k=9, mask_seen=False))
    assert after.keys() == before.keys()
    assert after["i3"] != pytest.approx(before["i3"], abs=1e-6)
    others = sorted(set(map(str, before)) - {"i3"})
    np.testing.assert_allclose([after[i] for i in others], [before[i] for i in others], atol=1e-5)
