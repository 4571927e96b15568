"""The ranking stage in a recommender: what every ranker owes, and the bundle that carries it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tests.data.small_shop import FEATURES, ITEMS, TEST, TRAIN, USERS, VALIDATION, config
from twotower.atomic import MANIFEST
from twotower.data.arrays.ragged import Ragged
from twotower.data.columns import ITEM_ID
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.splits import Parts
from twotower.data.tables.tables import Tables
from twotower.errors import BundleError
from twotower.index import SearchResult
from twotower.models.blend import Blend
from twotower.models.ranker.calibration import Calibration
from twotower.models.ranker.item_item_weights import ItemItemWeights
from twotower.models.ranker.ncf import NeuralCF
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.additions import with_items
from twotower.serving.bundle.bundle import FORMAT
from twotower.serving.bundle.ncf_stage import NeuralRanker

HISTORY = {**FEATURES, "user": {**FEATURES["user"], "history": {"type": "history"}}}
FORMS: dict[str, dict[str, Any]] = {
    "all": {"features": HISTORY, "ranker": {"embedding_dim": 8, "hidden": [8, 4]}},
    "ids": {"features": {}, "ranker": {"embedding_dim": 8, "hidden": [8]}},
    "mlp": {"ranker": {"embedding_dim": 8, "gmf": False, "norm": "batch", "user_positives": False}},
    "gmf": {"ranker": {"embedding_dim": 8, "hidden": [], "neighbours": 0}},
    "isotonic": {"features": HISTORY, "ranker": {"embedding_dim": 8, "user_positives": False}},
}
CALIBRATIONS = {
    "isotonic": Calibration("isotonic", scores=(-1.0, 0.5, 2.0), chances=(0.01, 0.2, 0.9)),
    "ids": Calibration(),
}


def shop(form: str = "all", seed: int = 0) -> Recommender:
    """Untrained weights rank as deterministically as trained ones."""
    settings = config(**FORMS[form])
    tables = Tables(pl.concat([TRAIN, VALIDATION]), USERS, ITEMS, test=TEST)
    data = Dataset.from_parts(settings, tables, Parts(TRAIN, VALIDATION, TEST, "given", ""))
    assert settings.ranker is not None
    model = NeuralCF(settings.ranker, data.schema, seed=seed)
    with torch.no_grad():  # the first scores of a new model are all but equal
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    near = ItemItemWeights.fit(data.train, l2=1.0, number=3) if settings.ranker.neighbours else None
    ranker = replace(
        NeuralRanker.build(model, data.items, near),
        blend=Blend({"own": 1.0, "retriever": 0.3, "neighbours": 0.5}),
        calibration=CALIBRATIONS.get(form, Calibration("temperature", 0.8, -1.5)),
    )
    retriever = TwoTower(settings.retriever, data.schema, seed=seed)
    return Recommender.build(retriever, data.train, settings, ranker=ranker)


EVERYBODY = ["u1", "u2", "u9", "u3", "nobody"]


def answers(recommender: Recommender) -> list[Any]:
    context = pl.DataFrame({"device": ["phone", None, "desk", "watch", "phone"]})
    invented = pl.DataFrame({"age": [33, None], "city": ["Rome", None]})
    histories = [["i1", "i3"], []]
    return [
        recommender.recommend(EVERYBODY, 3),
        recommender.recommend(EVERYBODY, 9, context=context, exclude=["i2"], mask_seen=False),
        recommender.recommend_invented(invented, 4, histories=histories),
        [frame.rows() for frame in recommender.recommend_all(3)],
    ]


@pytest.mark.parametrize("form", FORMS)
def test_a_loaded_bundle_ranks_the_same(tmp_path: Path, form: str) -> None:
    recommender = shop(form)
    recommender.save(tmp_path / "bundle")
    loaded = Recommender.load(tmp_path / "bundle")
    assert isinstance(loaded.served.ranker, NeuralRanker)
    assert isinstance(recommender.served.ranker, NeuralRanker)
    assert loaded.served.ranker.blend == recommender.served.ranker.blend
    assert loaded.served.ranker.calibration == recommender.served.ranker.calibration
    assert loaded.served.stage_names == ("retrieve", "rank")
    assert answers(loaded) == answers(recommender)
    again = tmp_path / "again"
    loaded.save(again)
    for file in sorted((tmp_path / "bundle").rglob("ranker*")):
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_is_answered_like_each_query_alone(form: str) -> None:
    recommender = shop(form)
    together = recommender.recommend(EVERYBODY, 4)
    for user, answer in zip(EVERYBODY, together, strict=True):
        alone = recommender.recommend([user], 4)[0]
        assert [item.item_id for item in alone.items] == [item.item_id for item in answer.items]
        assert [item.score for item in alone.items] == pytest.approx(
            [item.score for item in answer.items], rel=1e-4
        )


@pytest.mark.parametrize("form", FORMS)
def test_scores_are_probabilities_best_first_and_each_stage_is_told(form: str) -> None:
    for answer in shop(form).recommend(EVERYBODY[:4], 4):
        if answer.path == "popular":
            continue
        scores = [item.score for item in answer.items]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        for item in answer.items:
            assert list(item.stage_scores) == ["retrieve", "rank"]
            assert item.stage_scores["rank"] == item.score


def test_cold_users_and_cold_items_are_ranked_not_refused() -> None:
    recommender = shop()
    cold_user, stranger = recommender.recommend(["u3", "nobody"], 4)
    assert cold_user.path == "features"
    assert stranger.path == "popular"
    assert {item.item_id for item in cold_user.items} == {"i1", "i2", "i3", "i4"}
    cold_item = next(item for item in cold_user.items if item.item_id == "i3")
    assert 0 < cold_item.stage_scores["rank"] < 1


def test_no_history_nothing_taken_and_no_context_are_answers_too() -> None:
    recommender = shop()
    nobody = pl.DataFrame({"age": [33], "city": ["Rome"]})
    alone = recommender.recommend_invented(nobody, 3)[0]
    empty = recommender.recommend_invented(nobody, 3, histories=[[]])[0]
    assert alone.items == empty.items
    assert alone.path == "features"


def test_what_a_user_takes_changes_the_answer() -> None:
    recommender = shop("all")
    nobody = pl.DataFrame({"age": [33], "city": ["Rome"]})
    before, after = (
        recommender.recommend_invented(nobody, 4, histories=[taken])[0] for taken in ([], ["i4"])
    )
    scores = {item.item_id: item.stage_scores["rank"] for item in before.items}
    assert any(scores[item.item_id] != item.score for item in after.items)


@pytest.mark.parametrize(("form", "live"), [("ids", True), ("gmf", True), ("mlp", True)])
def test_live_is_told(form: str, *, live: bool) -> None:
    assert shop(form).recommend(["u1"], 1)[0].live is live


def test_without_a_reading_ranker_an_event_changes_nothing() -> None:
    recommender = shop("mlp")
    assert isinstance(recommender.served.ranker, NeuralRanker)
    deaf = Recommender(
        replace(recommender.served, ranker=replace(recommender.served.ranker, neighbours=None))
    )
    assert deaf.recommend(["u1"], 1)[0].live is False


def test_new_items_are_ranked_without_training() -> None:
    recommender = shop("all")
    rows = pl.DataFrame({ITEM_ID: ["i9"], "genres": ["opera"], "since": ["2024-05-05"]})
    more = Recommender(with_items(recommender.served, rows))
    assert isinstance(more.served.ranker, NeuralRanker)
    assert len(more.served.ranker.items.states) == len(more.items)
    before, after = (r.recommend(["u1"], 9)[0].items for r in (recommender, more))
    assert {item.item_id for item in after} - {item.item_id for item in before} == {"i9"}
    # Items that training saw are scored as before; new ones share their place with each other.
    old, new = ({item.item_id: item.score for item in part} for part in (before, after))
    known = {"i1", "i2", "i4"} & old.keys()
    assert known
    assert [new[item] for item in known] == pytest.approx([old[item] for item in known], rel=1e-5)


def test_the_blend_and_the_calibration_by_hand() -> None:
    recommender = shop("ids")
    ranker = recommender.served.ranker
    assert isinstance(ranker, NeuralRanker)
    queries = recommender.served.queries_of(np.array([2]), {})
    nums = np.array([[3, 4, -1]])
    scores = np.array([[0.5, -0.25, -np.inf]], dtype=np.float32)
    found = SearchResult(scores, nums)
    logits = ranker.logits(queries, nums)
    assert ranker.neighbours is not None
    near = ranker.neighbours.score(queries.user_items or Ragged.empty(1), nums)
    mixed = logits[0, :2] + 0.3 * scores[0, :2] + 0.5 * near[0, :2]
    said = ranker.score(queries, found)[0]
    assert said[:2].tolist() == pytest.approx((1 / (1 + np.exp(-mixed))).tolist(), rel=1e-5)
    assert np.isfinite(said).all()


# --- bundles ---


def edited(path: Path, **changes: Any) -> None:
    manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    manifest.update(changes)
    (path / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def test_a_bundle_of_the_first_format_has_no_ranker(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    Recommender(replace(shop().served, ranker=None)).save(path)
    manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    assert (manifest["format"], manifest["ranker"]) == (FORMAT, False)
    assert not list(path.glob("ranker*"))
    edited(path, format=1)
    loaded = Recommender.load(path)
    assert loaded.served.ranker is None
    assert loaded.served.stage_names == ("retrieve",)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    shop().save(path)
    edited(path, format=FORMAT + 1)
    expected = (
        f"{path}: has format {FORMAT + 1}, and this version reads up to {FORMAT}. "
        "Fix: upgrade twotower."
    )
    with pytest.raises(BundleError, match=f"^{re.escape(expected)}$"):
        Recommender.load(path)


def test_a_ranker_of_other_vocabularies_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    recommender = shop("gmf")
    ranker = recommender.served.ranker
    assert isinstance(ranker, NeuralRanker)
    wider = NeuralCF(ranker.model.config.model_copy(update={"embedding_dim": 16}), ranker.schema)
    Recommender(replace(recommender.served, ranker=replace(ranker, model=wider))).save(path)
    with pytest.raises(BundleError, match=r"ranker\.safetensors: vocabularies and weights do not"):
        Recommender.load(path)


def test_a_bundle_whose_config_has_no_ranker_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    recommender = shop()
    without = recommender.served.config.model_copy(update={"ranker": None})
    Recommender(replace(recommender.served, config=without)).save(path)
    expected = (
        f"{path}: the manifest names a ranker, and the config has no [ranker]. "
        "Fix: copy the bundle again, or train again."
    )
    with pytest.raises(BundleError, match=f"^{re.escape(expected)}$"):
        Recommender.load(path)
