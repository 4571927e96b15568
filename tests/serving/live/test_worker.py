"""A worker follows the store: events, items, versions, users who were forgotten."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.data.small_shop import FEATURES, ITEMS, TEST, TRAIN, USERS, VALIDATION, config
from tests.serving.asking import asking
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.splits import Parts
from twotower.data.tables.tables import Tables
from twotower.errors import BundleError, DataError, NotFoundError, StoreError
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.answering import similar_items
from twotower.serving.answer.recommendation import Recommendation
from twotower.serving.answer.recommender import Recommender
from twotower.serving.answer.requests import HistoryItem
from twotower.serving.live import recent_events as recent_module
from twotower.serving.live import worker as worker_module
from twotower.serving.live.browse import item_row, item_rows
from twotower.serving.live.store_recommender import StoreRecommender
from twotower.serving.live.versions import Pool
from twotower.serving.live.worker import Worker, unread_values
from twotower.serving.store.experiments import ABExperiment, ExperimentVariant
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import EventStore, ItemChange, StoredEvent

HISTORY = {"type": "history", "encoder": "attention", "max_length": 4, "num_heads": 2}
LOG = pl.concat([TRAIN, VALIDATION]).with_columns(pl.lit("buy").alias("event_type"))
"""u2 took i1 (30) and i2 (40), u1 i2 (10) and i1 (50), u9 i4 (20)."""


def save(folder: Path, seed: int, **data: Any) -> Recommender:
    features = {**FEATURES, "user": {**FEATURES["user"], "history": HISTORY}}
    files = {"interactions": "log.csv", "users": "users.csv", "items": "items.csv", **data}
    settings = config(features=features, retriever={"embedding_dim": 8}, data=files)
    test = TEST.with_columns(pl.lit("buy").alias("event_type"))
    parts = Parts(LOG, LOG.clear(), test, "given", "")
    dataset = Dataset.from_parts(settings, Tables(LOG, USERS, ITEMS, test=test), parts)
    recommender = Recommender.build(
        TwoTower(settings.retriever, dataset.schema, seed=seed), dataset.train, settings
    )
    recommender.save(folder)
    return recommender


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    save(tmp_path / "bundles" / "a", 0)
    save(tmp_path / "bundles" / "b", 1)
    (tmp_path / "bundles" / "current").write_text("a\n")
    return tmp_path / "bundles"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = open_store(tmp_path / "events.sqlite")
    yield opened
    opened.close()


def answer(worker: Worker, user_id: str | None = None, **fields: Any) -> Recommendation:
    found = worker.answer([asking(user_id, **fields)])[0]
    assert isinstance(found, Recommendation), found
    return found


def ids(found: Recommendation) -> list[str | int]:
    return [item.item_id for item in found.items]


def scores(found: Recommendation) -> dict[str | int, float]:
    return {item.item_id: item.score for item in found.items}


def event(number: int, user_id: str, item_id: str, **fields: Any) -> StoredEvent:
    fields = {"timestamp": 100 + number, "event_type": "buy", **fields}
    return StoredEvent(f"e{number}", user_id, item_id, **fields)


def test_without_live_events_answers_are_the_recommenders(bundles: Path, store: EventStore) -> None:
    worker, recommender = Worker(store, Pool(bundles)), Recommender.load(bundles / "a")
    for user_id in ("u1", "u2", "u9", "u3", "u7", "nobody"):
        expected = recommender.recommend([user_id], 9)[0]
        found = answer(worker, user_id, k=9)
        assert found.path == expected.path
        assert ids(found) == [item.item_id for item in expected.items]
        assert [i.score for i in found.items] == pytest.approx(
            [i.score for i in expected.items], abs=1e-6
        )
        assert [i.reason for i in found.items] == [i.reason for i in expected.items]


def test_an_event_is_read_as_if_training_had_seen_it(tmp_path: Path, store: EventStore) -> None:
    """The history of a live event gives the vector of the same history in a bundle."""
    save(tmp_path / "served", 0)
    worker = Worker(store, Pool(tmp_path / "served"))
    store.append([event(1, "u9", "i1"), event(2, "u9", "i2")])
    live = answer(worker, "u9", k=9, mask_seen=False)
    told = answer(
        worker,
        "u9",
        k=9,
        mask_seen=False,
        history=(HistoryItem("i1", "buy", 101), HistoryItem("i2", "buy", 102)),
    )
    # Told and stored are the same events, and each counts once.
    assert scores(told) == pytest.approx(scores(live), abs=1e-6)


def test_an_event_that_the_bundle_has_learned_counts_once(bundles: Path, store: EventStore) -> None:
    worker = Worker(store, Pool(bundles))
    before = answer(worker, "u2", k=9, mask_seen=False)
    store.append([event(1, "u2", "i1", timestamp=30), event(2, "u2", "i2", timestamp=40)])
    assert scores(answer(worker, "u2", k=9, mask_seen=False)) == scores(before)


def test_events_that_training_would_not_count_change_nothing(
    tmp_path: Path, store: EventStore
) -> None:
    save(tmp_path / "served", 0, positive={"event_types": ["buy"]})
    worker = Worker(store, Pool(tmp_path / "served"))
    store.append([event(1, "new", "i1", event_type="view")])
    assert answer(worker, "new").path == "popular"
    store.append([event(2, "new", "i1")])
    assert answer(worker, "new").path == "history"


def test_a_dislike_is_not_recommended_and_does_not_raise_its_neighbours(
    tmp_path: Path, store: EventStore
) -> None:
    save(tmp_path / "served", 0, positive={"negative_event_types": ["dislike"]})
    worker = Worker(store, Pool(tmp_path / "served"))
    store.append([event(1, "new", "i1")])
    before = answer(worker, "new", k=9)
    item = before.items[0].item_id
    told = answer(worker, "new", k=9, history=(HistoryItem(item, "dislike", 200),))
    store.append([event(2, "new", str(item), event_type="dislike")])
    after = answer(worker, "new", k=9)
    assert scores(after) == scores(told)
    assert scores(after) == {name: score for name, score in scores(before).items() if name != item}


def test_two_workers_agree_and_one_that_starts_later_too(
    bundles: Path, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_module, "PAGE", 2)
    one, other = Worker(store, Pool(bundles)), Worker(store, Pool(bundles))
    answer(one, "new"), answer(other, "new")
    store.append([event(n, f"other-{n}", "i1") for n in range(5)])
    store.append([event(9, "new", "i2")])
    store.change_items([ItemChange("i9", {"genres": "opera"}), ItemChange("i1", None)])
    store.change_deployment(store.deployment().activated("b"))
    found = [answer(worker, "new", k=9) for worker in (one, other, Worker(store, Pool(bundles)))]
    assert [each.model_version for each in found] == ["b", "b", "b"]
    assert ids(found[0]) == ids(found[1]) == ids(found[2])
    for each in found:
        assert each.path == "history"
        assert "i9" in ids(each)
        assert not {"i1", "i2"} & set(ids(each))


def test_a_forgotten_user_is_nobody_until_new_events_come(bundles: Path, store: EventStore) -> None:
    worker = Worker(store, Pool(bundles))
    store.append([event(1, "u1", "i4")])
    assert answer(worker, "u1").path == "known"
    store.forget_user("u1")
    assert answer(worker, "u1").path == "popular"
    assert answer(Worker(store, Pool(bundles)), "u1").path == "popular"
    store.append([event(2, "u1", "i4", timestamp=2**35)])
    found = answer(worker, "u1", k=9)
    assert found.path == "history"
    assert "i2" in ids(found), "what the bundle knew the user took is not masked any more"


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_answering(
    bundles: Path, store: EventStore
) -> None:
    worker = Worker(store, Pool(bundles))
    (bundles / "b" / "weights.safetensors").write_bytes(b"")
    store.change_deployment(store.deployment().activated("b"))
    assert answer(worker, "u1").model_version == "a"
    with pytest.raises(BundleError, match=r"weights\.safetensors: has 0 bytes"):
        worker.ready_version()


def test_a_version_that_is_not_there_leaves_the_old_one_answering(
    bundles: Path, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the folder of bundles of one machine is behind that of another one."""
    worker = Worker(store, Pool(bundles))
    (bundles / "b").rename(bundles.parent / "b")
    store.change_deployment(store.deployment().activated("b"))
    for _ in range(2):
        assert answer(worker, "u1").model_version == "a"
    with pytest.raises(BundleError, match=r"^no such version"):
        worker.ready_version()
    (bundles.parent / "b").rename(bundles / "b")
    assert answer(worker, "u1").model_version == "a"  # it was looked for a moment ago
    monkeypatch.setattr(worker_module, "LOAD_AGAIN_SECONDS", 0)
    monkeypatch.setattr(worker_module, "LOAD_SHARE", 0)
    store.change_deployment(store.deployment().activated("a").activated("b"))
    assert answer(worker, "u1").model_version == "b"
    assert worker.ready_version() == "b"


def test_any_error_of_a_bundle_leaves_the_old_version_answering(
    bundles: Path, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, loaded = Worker(store, Pool(bundles)), []

    def fail(*_: object) -> None:
        loaded.append(1)
        raise MemoryError

    monkeypatch.setattr(worker_module, "load_bundle", fail)
    store.change_deployment(store.deployment().activated("b"))
    for _ in range(5):
        assert answer(worker, "u1").model_version == "a"
    assert loaded == [1]
    with pytest.raises(BundleError, match=r"^MemoryError$"):
        worker.ready_version()


def test_an_integer_user_is_in_the_variant_of_its_text(bundles: Path, store: EventStore) -> None:
    arms = (ExperimentVariant("control", "a", 0.5), ExperimentVariant("new", "b", 0.5))
    worker = Worker(store, Pool(bundles))
    for name in "abcdefgh":
        experiment = ABExperiment(name, arms)
        store.change_deployment(replace(store.deployment(), experiment=experiment))
        worker.follow()
        for user_id in (0, 7, -1):
            expected = experiment.assign(str(user_id)).name
            assert worker.model_of(user_id, None)[1] == expected
            assert worker.model_of(str(user_id), None)[1] == expected


def test_each_request_of_a_batch_is_answered_by_its_own_variant(
    bundles: Path, store: EventStore
) -> None:
    """Two of the variants share a version; requests of one version differ in what they ask for; one
    request cannot be answered."""
    variants = {"control": "a", "new": "b", "same": "a"}
    arms = [ExperimentVariant(*arm, 0.25) for arm in variants.items()]
    experiment = ABExperiment("towers", (*arms, ExperimentVariant("rest", "b", 0.25)))
    worker = Worker(store, Pool(bundles))
    store.change_deployment(replace(store.deployment(), experiment=experiment))
    recommenders = {version: Recommender.load(bundles / version) for version in ("a", "b")}
    requests: list[dict[str, Any]] = [
        {"user_id": user_id, "k": k, "variant": variant}
        for user_id in ("u1", "u2", "u9")
        for k in (1, 2, 9)
        for variant in (*variants, None)
    ]
    requests += [{"user_id": "u1", "variant": "neww"}, {"user_id": None, "k": 2}]
    random.Random(0).shuffle(requests)
    found = worker.answer([asking(**request) for request in requests])
    assert len(found) == len(requests)
    for request, answered in zip(requests, found, strict=True):
        user_id, variant = request["user_id"], request.get("variant")
        if variant == "neww":
            assert str(answered) == (
                "column 'variant': no such variant runs, did you mean 'new'? There are: control, "
                "new, same, rest."
            )
            continue
        assert isinstance(answered, Recommendation), answered
        if user_id is None:
            assert (answered.variant, answered.model_version) == (None, "a")
            continue
        named = {arm.name: arm for arm in experiment.variants}
        arm = experiment.assign(user_id) if variant is None else named[variant]
        assert (answered.user_id, answered.variant, answered.model_version) == (
            user_id,
            arm.name,
            arm.version,
        )
        expected = recommenders[arm.version].recommend([user_id], request["k"])[0]
        assert scores(answered) == pytest.approx(
            {item.item_id: item.score for item in expected.items}, abs=1e-6
        )
    for user_id in ("u1", "u2", "u9"):
        first, second = (
            [item.score for item in recommender.recommend([user_id], 1)[0].items]
            for recommender in recommenders.values()
        )
        assert first != pytest.approx(second, abs=1e-3), "the versions cannot be told apart"


def columns(found: Recommendation, item_id: str) -> dict[str, Any]:
    return dict(next(item for item in found.items if item.item_id == item_id).columns)


def part(item_id: str, hidden: bool | None = None, **fields: Any) -> ItemChange:
    return ItemChange(item_id, fields, partial=True, hidden=hidden)


def test_an_item_is_served_by_what_a_version_can_encode(bundles: Path, store: EventStore) -> None:
    worker = Worker(store, Pool(bundles))
    good = {"genres": "opera", "of another version": 3}
    odd = {"genres": "opera", "since": "not a time"}
    store.change_items([ItemChange("fine", good), ItemChange("odd", odd)])
    store.change_items([part("i1", since="never"), ItemChange("bare", {"since": "not a time"})])
    found = answer(worker, "u1", k=9, mask_seen=False)
    assert scores(found)["fine"] == pytest.approx(scores(found)["odd"])
    assert "i1" in ids(found)
    assert "bare" not in ids(found)
    assert "bare" in ids(answer(worker, "nobody", k=9))
    assert columns(found, "fine") == good
    assert columns(found, "odd") == {"genres": "opera"}
    unread = {(item_id, one.field) for item_id, one in unread_values(worker.active())}
    assert unread == {(name, f"items.{name}.since") for name in ("odd", "i1", "bare")}
    for _, one in unread_values(worker.active()):
        assert one.code == "unreadable_value"
        assert one.message.startswith("version 'a' cannot read it: column 'since': ")


def test_an_added_item_leaves_what_a_history_says_of_the_others(
    bundles: Path, store: EventStore
) -> None:
    worker, recommender = Worker(store, Pool(bundles)), Recommender.load(bundles / "a")
    store.change_items([ItemChange("new", {"genres": "opera"})])
    nobody = pl.DataFrame({"age": [None]})
    for taken in ("i1", "i2", "i3", "i4"):
        found = scores(answer(worker, history=(HistoryItem(taken),), k=9))
        del found["new"]
        [called] = recommender.recommend_invented(nobody, 9, histories=[[taken]])
        assert found == pytest.approx(scores(called), abs=1e-6)


def test_values_that_fit_alone_and_not_together(bundles: Path, store: EventStore) -> None:
    """In one column, one is a list and the other one is not."""
    worker = Worker(store, Pool(bundles))
    store.change_items([ItemChange("a", {"genres": ["opera"]}), ItemChange("b", {"genres": "x"})])
    found = answer(worker, "u1", k=9)
    assert {"a", "b"} <= set(ids(found))
    assert not worker.active().overlay.unread


def test_one_value_changes_and_the_others_stay(bundles: Path, store: EventStore) -> None:
    """As if the whole item had been put with this value, in each version."""
    store.change_items([part("i1", genres="opera")])
    whole = {"genres": "opera", "since": "2024-01-01"}
    for version in ("a", "b"):
        store.change_deployment(store.deployment().activated(version))
        changed = answer(Worker(store, Pool(bundles)), "u2", k=9, mask_seen=False)
        assert columns(changed, "i1") == whole
        other = open_store(bundles / f"{version}.sqlite")
        other.change_deployment(other.deployment().activated(version))
        other.change_items([ItemChange("i1", whole)])
        put = answer(Worker(other, Pool(bundles)), "u2", k=9, mask_seen=False)
        other.close()
        assert scores(changed) == pytest.approx(scores(put), abs=1e-6)
        opera = {"column": "genres", "equals": "opera"}
        old = {"column": "since", "range": {"max": "2024-01-15"}}
        worker = Worker(store, Pool(bundles))
        found = answer(worker, "u2", k=9, mask_seen=False, filter={"and": [opera, old]})
        assert ids(found) == ["i1"]
    store.change_items([part("i2", genres=["ballet", "opera"])])
    both = answer(
        worker, "u2", k=9, mask_seen=False, filter={"column": "genres", "equals": "opera"}
    )
    assert {"i1", "i2"} <= set(ids(both))
    store.change_items([part("i1", genres=None)])
    assert columns(answer(worker, "u2", k=9, mask_seen=False), "i1")["genres"] is None
    nothing = answer(worker, "u2", k=9, mask_seen=False, filter=opera)
    assert "i1" not in ids(nothing)


def test_a_column_that_no_model_reads_is_shown_and_filtered(
    bundles: Path, store: EventStore
) -> None:
    worker = Worker(store, Pool(bundles))
    before = scores(answer(worker, "u2", k=9, mask_seen=False))
    store.change_items([part("i1", stock=3, tags=["a"]), part("i2", stock=0)])
    store.change_items([ItemChange("new", {"genres": "opera", "stock": 1.5, "long": "x" * 2000})])
    found = answer(worker, "u2", k=9, mask_seen=False)
    assert {name: scores(found)[name] for name in before} == before
    assert columns(found, "i1")["stock"] == 3
    assert columns(found, "new") == {"genres": "opera", "stock": 1.5}

    def kept(**condition: Any) -> set[str | int]:
        return set(ids(answer(worker, "u2", k=9, mask_seen=False, filter=condition)))

    assert kept(column="stock", range={"min": 1}) == {"i1", "new"}
    assert kept(column="stock", equals=0) == {"i2"}
    assert kept(column="tags", equals="a") == {"i1"}
    assert kept(column="stock", equals=None) == set(before) - {"i1", "i2"}
    with pytest.raises(AssertionError, match="there is no item column 'long'"):
        kept(column="long", equals="x")
    model = worker.active()
    kept_by = model.mask({"not": {"column": "stock", "equals": 99}})
    assert not kept_by.flags.writeable
    assert np.flatnonzero(kept_by).tolist() == model.catalogue.all_nums().tolist()


def test_a_hidden_item_is_known_and_not_recommended(bundles: Path, store: EventStore) -> None:
    worker = Worker(store, Pool(bundles))
    store.change_items([ItemChange("new", {"genres": "opera"}, hidden=True)])
    store.change_items([part("i1", hidden=True)])
    for user_id in ("u2", "nobody", None):
        assert not {"i1", "new"} & set(ids(answer(worker, user_id, k=9, mask_seen=False)))
    every = {"not": {"column": "genres", "equals": "no such genre"}}
    assert not {"i1", "new"} & set(ids(answer(worker, "u2", k=9, mask_seen=False, filter=every)))
    scored = worker.score(asking("u2", items=("i1", "new", "i2")))
    assert (ids(scored), scored.unknown) == (["i2"], ("i1", "new"))
    model = worker.active()
    assert {row["item_id"] for row in item_rows(model, model.catalogue.all_nums().tolist())} == {
        "i1",
        "i2",
        "i3",
        "i4",
        "new",
    }
    assert [item_row(model, name)["hidden"] for name in ("i1", "new", "i2")] == [True, True, False]
    assert [item.item_id for item in similar_items("i1", 9, model)]
    assert "i1" not in [item.item_id for item in similar_items("i2", 9, model)]
    store.change_items([part("i1", hidden=False), part("new", hidden=False)])
    assert {"i1", "new"} <= set(ids(answer(worker, "u2", k=9, mask_seen=False)))


def test_a_version_is_loaded_with_its_items_and_held_with_the_newest(
    bundles: Path, store: EventStore
) -> None:
    """So that the thread that answers does not encode all of them."""
    worker = Worker(store, Pool(bundles))
    store.change_items([ItemChange("one", {"genres": "opera"}), part("i1", genres="opera")])
    loaded = worker.load("b")
    assert loaded.catalogue.num("one") > 0
    worker.hold(loaded)
    assert worker.models["b"] is loaded
    again = worker.load("b")
    store.change_items([ItemChange("one", None), ItemChange("two", {"genres": "drama"})])
    del worker.models["b"]
    worker.hold(again)
    store.change_deployment(store.deployment().activated("b"))
    found = answer(worker, "u2", k=9, mask_seen=False)
    assert found.model_version == "b"
    assert "two" in ids(found)
    assert "one" not in ids(found)
    assert columns(found, "i1")["genres"] == "opera"


def test_an_unknown_item_is_not_changed_in_part(bundles: Path, store: EventStore) -> None:
    worker = Worker(store, Pool(bundles))
    store.change_items([part("unknown", genres="opera")])
    assert "unknown" not in ids(answer(worker, "u2", k=9))
    with pytest.raises(NotFoundError, match="no such item"):
        worker.check_changes([part("unknown", genres="opera")])


# --- requests of clients who know another version ---


def test_columns_that_the_version_does_not_know_are_ignored(
    bundles: Path, store: EventStore
) -> None:
    worker = Worker(store, Pool(bundles))
    known = {"device": "phone"}
    told = answer(worker, "u1", k=9, context={**known, "page": "home"}, strict=False)
    assert scores(told) == scores(answer(worker, "u1", k=9, context=known))
    assert [(one.code, one.field) for one in told.ignored] == [("unknown_column", "context.page")]
    asked: dict[str, Any] = {"user": {"age": 30, "plan": "gold"}, "k": 9}
    told = answer(worker, **asked, strict=False)
    assert scores(told) == scores(answer(worker, user={"age": 30}, k=9))
    assert [one.field for one in told.ignored] == ["user.plan"]
    unknown: list[dict[str, Any]] = [{"context": {"page": "home"}}, {"user": {"plan": "gold"}}]
    for fields in unknown:
        [refused] = worker.answer([asking(**fields)])
        assert isinstance(refused, DataError)
        assert "feature that reads it" in str(refused)


@pytest.mark.parametrize(
    ("condition", "same"),
    [
        ({"column": "shelf", "equals": 1}, None),
        ({"not": {"column": "shelf", "equals": 1}}, None),
        (
            {"and": [{"column": "shelf", "equals": 1}, {"column": "genres", "equals": "drama"}]},
            {"column": "genres", "equals": "drama"},
        ),
        (
            {
                "or": [
                    {"column": "genres", "equals": "crime"},
                    {"column": "shelf", "range": {"min": 1}},
                ]
            },
            {"column": "genres", "equals": "crime"},
        ),
        ({"or": [{"and": [{"column": "shelf", "in": [1]}]}]}, None),
    ],
)
def test_conditions_on_columns_that_the_version_does_not_have_are_ignored(
    bundles: Path, store: EventStore, condition: Any, same: Any
) -> None:
    worker = Worker(store, Pool(bundles))
    told = answer(worker, "u2", k=9, mask_seen=False, filter=condition, strict=False)
    assert ids(told) == ids(answer(worker, "u2", k=9, mask_seen=False, filter=same))
    assert [(one.code, one.field) for one in told.ignored] == [("unknown_column", "filter.shelf")]
    [refused] = worker.answer([asking("u2", filter=condition)])
    assert "there is no item column 'shelf'" in str(refused)
    if same is not None:
        told = answer(worker, "u2", k=9, mask_seen=False, filter=same, strict=False)
        assert ids(told) == ids(answer(worker, "u2", k=9, mask_seen=False, filter=same))
        assert told.ignored == ()
    wrong = {"and": [condition, {"column": "since", "range": {"min": 3}}]}
    [refused] = worker.answer([asking("u2", filter=wrong, strict=False)])
    assert isinstance(refused, DataError)


def test_the_newest_events_of_a_user_are_kept(
    bundles: Path, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_module, "MAX_EVENTS", 3)
    worker = Worker(store, Pool(bundles))
    store.append([event(0, "new", "i1")])
    answer(worker, "new")
    store.append([event(n, "new", "i2") for n in (5, 3, 4, 1)])
    answer(worker, "new")
    assert [one.timestamp for one in worker.recent.of("new")] == [103, 104, 105]


def test_a_source_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        Pool(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: is no bundle and no folder of bundles. Fix: name a folder that "
        "`twotower train` wrote, or one that holds such folders."
    )


# --- a store that is lost ---


def lose(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the store break between the look at its counters and the look at a user's events."""

    def fail(*_: Any, **__: Any) -> list[StoredEvent]:
        raise StoreError("the disk is gone.")

    monkeypatch.setattr(store, "events_of", fail)


def test_events_that_cannot_be_read_are_not_passed_over_in_silence(
    store: EventStore, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append([event(1, "new", "i1"), event(2, "known", "i1")])
    worker = Worker(store, Pool(bundles), stale_seconds=60)
    before = answer(worker, "known", k=4)
    lose(store, monkeypatch)
    for found in (answer(worker, "new", k=4), worker.score(asking("new", items=("i1",)))):
        assert [one.code for one in found.ignored] == ["store_away"]
        assert found.path == "popular"
    state = worker.batch_state([asking("new"), asking("known", k=4)])
    outcomes = state.answer([asking("new"), asking("known", k=4)], range(2))
    assert [getattr(one, "path", None) for one in outcomes] == ["popular", "history"]
    assert isinstance(outcomes[1], Recommendation)
    assert ids(outcomes[1]) == ids(before)


def test_without_time_to_go_on_the_error_is_the_answer(
    store: EventStore, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append([event(1, "new", "i1")])
    worker = Worker(store, Pool(bundles))
    lose(store, monkeypatch)
    assert isinstance(worker.answer([asking("new")])[0], StoreError)
    with pytest.raises(StoreError, match=r"^the disk is gone\.$"):
        StoreRecommender(bundles / "a", store).recommend("new")
