"""Reasons by hand: the code, its parameters, and the sentence; and files of sentences that are
refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.data.small_shop import FEATURES, ITEMS, TEST, TRAIN, USERS, VALIDATION, config
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.splits import Parts
from twotower.data.tables.tables import Tables
from twotower.errors import ConfigError
from twotower.index.exact import ExactIndex
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer import reasons
from twotower.serving.answer.overlaid_model import OverlaidModel, PreparedModel
from twotower.serving.answer.reasons import (
    PLACEHOLDERS,
    Reason,
    ReasonSentences,
    normalized,
)
from twotower.serving.answer.recommender import Recommender
from twotower.serving.answer.user_history import UserHistory
from twotower.serving.answer.writer import history_reasons
from twotower.serving.bundle.served_model import ServedModel
from twotower.serving.overlay.catalogue import name_of

# Nums of the items i1 i2 i4 i3: 2 3 4 5.
VECTORS = np.array([[1, 0], [0, 2], [-3, 0], [4, 4]], dtype=np.float32)
HISTORY = {"type": "history", "encoder": "mean", "max_length": 8}


def shop(features: dict[str, Any] | None = None, **columns: Any) -> ServedModel:
    """The small shop, with more columns of i3, i2, i1; users viewed, and u2 bought i2 last."""
    settings = config(features=features or FEATURES, retriever={"embedding_dim": 3})
    items = ITEMS.with_columns(**{name: pl.Series(cells) for name, cells in columns.items()})
    log = pl.concat([TRAIN, VALIDATION]).with_columns(
        event_type=pl.when((pl.col("user_id") == "u2") & (pl.col("item_id") == "i2"))
        .then(pl.lit("buy"))
        .otherwise(pl.lit("view"))
    )
    test = TEST.with_columns(event_type=pl.lit("view"))
    parts = Parts(log, log.clear(), test, "given", "")
    data = Dataset.from_parts(settings, Tables(log, USERS, items, test=test), parts)
    return ServedModel.build(
        TwoTower(settings.retriever, data.schema, seed=0), data.train, settings
    )


def by_hand(nums: list[int], history: list[int], **columns: Any) -> list[Any]:
    """Reasons of items, and of a history of nums, by `VECTORS`; the third coordinate is a bias."""
    wide = np.hstack([VECTORS, np.full((4, 1), 9, dtype=np.float32)])
    served = replace(shop(None, **columns), index=ExactIndex(wide, np.arange(2, 6)))
    assert served.similarity_dim == 2
    model = OverlaidModel.of(PreparedModel(served))
    own = np.array(history, dtype=np.int64)
    events = UserHistory(own, np.arange(len(own)), np.zeros(len(own), dtype=np.int64))
    return history_reasons(np.array(nums, dtype=np.int64), events, model)


def told(found: list[Any]) -> list[Any]:
    return [
        None if one is None else (one.parameters["item"], one.parameters["similarity"])
        for one in found
    ]


def test_the_nearest_item_of_the_history_is_named() -> None:
    found = by_hand([5, 2, 4], [3, 4], title=["Alien", "Brazil", "Dune"])
    # i1 is at a right angle to i2 and opposite to i4: it is similar to neither. i4 has no title.
    assert told(found) == [("Brazil", 0.7071), None, ("i4", 1.0)]
    assert found[0].parameters == {
        "item_id": "i2",
        "item": "Brazil",
        "event_type": None,
        "similarity": 0.7071,
    }


def test_similarity_is_of_direction_and_not_of_length() -> None:
    # The inner product of i4 and i3 is larger than that of i2 and i3, were i4 not opposite.
    # i1 and i2 are as similar to i3: the newer one is named.
    assert told(by_hand([5], [2, 3, 4])) == [("i2", 0.7071)]
    assert told(by_hand([5], [3, 2, 4])) == [("i1", 0.7071)]
    assert told(by_hand([4], [2, 5])) == [None]


def test_items_without_a_vector_are_no_reason() -> None:
    assert told(by_hand([5], [-1, 99])) == [None]
    assert by_hand([5], []) == [None]
    assert by_hand([], [3]) == []


def test_an_item_goes_by_its_title_else_by_its_id() -> None:
    assert name_of("i2", {}) == "i2"
    assert name_of("i2", {"title": "B's", "name": "N"}) == "B's"
    assert name_of("i2", {"title": None, "name": "N"}) == "N"
    assert name_of("i2", {"title": None, "label": "L"}) == "L"
    assert name_of(7, {"title": None}) == "7"


def test_vectors_of_items_that_are_not_in_the_index_are_zeros() -> None:
    kept = np.array([3, 5])
    found = ExactIndex(VECTORS[kept - 2], kept).vectors_of(np.array([5, 2, 3, 4, -1, 99]))
    assert found.tolist() == [[4, 4], [0, 0], [0, 2], [0, 0], [0, 0], [0, 0]]
    empty = ExactIndex(np.zeros((0, 2), dtype=np.float32), np.zeros(0, dtype=np.int64))
    assert empty.vectors_of(np.array([2])).tolist() == [[0, 0]]


def test_normalized_keeps_zeros() -> None:
    found = normalized(np.array([[3, 4], [0, 0]], dtype=np.float32))
    assert found.tolist() == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))


# --- what is true of whom ---


def test_the_event_type_of_the_newest_event_is_named() -> None:
    features = {**FEATURES, "user": {**FEATURES["user"], "history": HISTORY}}
    recommender = Recommender(shop(features))
    answer = recommender.recommend("u2", 4, mask_seen=False)
    by_item = {item.item_id: item for item in answer.items}
    # Each item is most similar to itself.
    assert by_item["i1"].reason == 'Similar to "i1", which you viewed'
    assert by_item["i2"].reason == 'Similar to "i2", which you bought'
    assert by_item["i2"].reason_parameters["event_type"] == "buy"


def test_only_features_that_are_known_of_the_user_are_named() -> None:
    recommender = Recommender(shop({side: FEATURES[side] for side in ("user", "item")}))
    users = pl.DataFrame(
        {"age": [30, None, 30, None], "city": ["Rome", "Rome", None, None]},
        schema={"age": pl.Int64, "city": pl.String},
    )
    found = recommender.recommend_invented(users, 1)
    assert [answer.items[0].reason for answer in found] == [
        "Matches your age and city",
        "Matches your city",
        "Matches your age",
        "Popular right now",
    ]
    assert found[1].items[0].reason_parameters == {"features": ["city"]}
    cold = recommender.recommend("u3", 1).items[0]
    row = recommender.users.frame.filter(pl.col("user_id") == "u3").row(0, named=True)
    assert cold.reason_parameters == {
        "features": [n for n in ("age", "city") if row[n] is not None]
    }


def test_a_context_is_named_where_items_are_popular_in_it() -> None:
    recommender = Recommender(shop())
    phone = pl.DataFrame({"device": ["phone"]})
    items = {item.item_id: item for item in recommender.recommend(["x"], 9, context=phone)[0].items}
    log = pl.concat([TRAIN, VALIDATION])
    on_phone = log.filter(pl.col("device") == "phone")["item_id"].to_list()
    everywhere = log["item_id"].to_list()
    assert set(on_phone) < set(everywhere)
    for item_id, item in items.items():
        if item_id in on_phone:
            assert item.reason == "Popular on phone"
            assert item.reason_parameters == {
                "context": {"device": "phone"},
                "count": {"device": on_phone.count(item_id)},
            }
        elif item_id in everywhere:
            assert item.reason == "Popular right now"
            assert item.reason_parameters == {"count": everywhere.count(item_id)}
        else:
            assert (item.reason_code, item.reason) == ("from_catalog", "From our catalog")
    assert {item.reason_code for item in items.values()} == {
        "popular_in_context",
        "popular",
        "from_catalog",
    }


def test_a_known_user_without_a_feature_or_a_similar_item() -> None:
    served = shop({"item": FEATURES["item"]})
    only = ExactIndex(served.index.vectors()[-1:], served.index.item_nums[-1:])
    answer = Recommender(replace(served, index=only)).recommend("u1", 3)
    assert [(item.item_id, item.reason) for item in answer.items] == [("i3", "Recommended for you")]


# --- sentences ---

ENGLISH = Path(reasons.__file__).with_name("reasons.en.toml")


def test_every_code_has_an_english_sentence() -> None:
    sentences = ReasonSentences.load()
    given: dict[str, dict[str, Any]] = {
        "similar_to_history": {"item": "X", "event_type": None},
        "matches_features": {"features": ["region", "age_group", "taste"]},
        "popular_in_context": {"context": {"device": "phone", "city": "Berlin"}},
    }
    found = {code: sentences.sentence(Reason(code, given.get(code, {}))) for code in PLACEHOLDERS}
    assert found == {
        "similar_to_history": 'Similar to "X" from your history',
        "matches_features": "Matches your region, age group and taste",
        "popular_in_context": "Popular for phone and Berlin",
        "popular": "Popular right now",
        "from_catalog": "From our catalog",
        "for_you": "Recommended for you",
        "similar_item": "Similar item",
    }


def like(event_type: str) -> dict[str, Any]:
    return {"item": "{X}", "event_type": event_type}


@pytest.mark.parametrize(
    ("code", "parameters", "sentence"),
    [
        ("popular_in_context", {"context": {"city": "Berlin"}}, "Popular in Berlin"),
        ("popular_in_context", {"context": {"weather": "rain"}}, "Popular for rain"),
        ("similar_to_history", like("View"), 'Similar to "{X}", which you viewed'),
        ("similar_to_history", like("default"), 'Similar to "{X}" from your history'),
        ("similar_to_history", like("rated"), 'Similar to "{X}" from your history'),
        ("matches_features", {"features": ["region"]}, "Matches your region"),
    ],
)
def test_sentences_of_an_event_type_and_of_a_context_feature(
    code: str, parameters: dict[str, Any], sentence: str
) -> None:
    assert ReasonSentences.load().sentence(Reason(code, parameters)) == sentence


def test_lists_and_names_of_features_may_be_left_out(tmp_path: Path) -> None:
    file = tmp_path / "short.toml"
    english = ENGLISH.read_text(encoding="utf-8")
    tables = [english.index(f"[{name}]") for name in ("lists", "feature_names")]
    file.write_text(english[: min(tables)], encoding="utf-8")
    short = ReasonSentences.load(file)
    reason = Reason("matches_features", {"features": ["home_town", "age", "city"]})
    assert short.sentence(reason) == "Matches your home town, age and city"


def test_an_operators_sentences(tmp_path: Path) -> None:
    german = ENGLISH.read_text(encoding="utf-8")
    for english, translated in (
        ("Matches your {features}", "Passt zu: {features}"),
        ('last = " and "', 'last = " und "'),
        ("[feature_names]", '[feature_names]\nage = "Alter"\n'),
    ):
        assert english in german
        german = german.replace(english, translated)
    (tmp_path / "de.toml").write_text(german, encoding="utf-8")
    served = shop({side: FEATURES[side] for side in ("user", "item")})
    recommender = Recommender(served, reasons=tmp_path / "de.toml")
    users = pl.DataFrame({"age": [30], "city": ["Rome"]})
    item = recommender.recommend_invented(users, 1)[0].items[0]
    assert item.reason == "Passt zu: Alter und city"
    assert (item.reason_code, item.reason_parameters) == (
        "matches_features",
        {"features": ["age", "city"]},
    )
    recommender.save(tmp_path / "bundle")
    loaded = Recommender.load(tmp_path / "bundle", reasons=tmp_path / "de.toml")
    assert loaded.recommend_invented(users, 1)[0].items[0].reason == item.reason


@pytest.mark.parametrize(
    ("english", "wrong", "message"),
    [
        (
            "[popular]  ",
            "[popolar]  ",
            "key 'popolar': there is no such reason, did you mean 'popular'? There are: "
            "similar_to_history, matches_features, popular_in_context, popular, from_catalog, "
            "for_you, similar_item, feature_names, lists.",
        ),
        (
            'default = "Popular right now"',
            "",
            "key 'popular.default': has no sentence. Fix: add one.",
        ),
        (
            "which you viewed",
            "which you viewed {when}",
            "key 'similar_to_history.view': names {when}, which is unknown (found 'Similar to "
            '"{item}", which you viewed {when}\'). Fix: name {item} in it.',
        ),
        (
            "Matches your {features}",
            "Matches you",
            "key 'matches_features.default': does not name {features} (found 'Matches you'). Fix: "
            "name {features} in it.",
        ),
        (
            "Popular right now",
            "Popular {0}",
            "key 'popular.default': names {0}, which is unknown (found 'Popular {0}'). Fix: write "
            "it without braces.",
        ),
        (
            "Popular right now",
            "Popular {",
            "key 'popular.default': is not a sentence (found 'Popular {'). Fix: write it without "
            "braces.",
        ),
        (
            '"Popular right now"',
            "5",
            "key 'popular.default': is not a sentence (found 5). Fix: write it without braces.",
        ),
        (
            "your {features}",
            "your {features.__class__}",
            "key 'matches_features.default': names {features.__class__}, which is unknown (found "
            "'Matches your {features.__class__}'). Fix: name {features} in it.",
        ),
        (
            "your {features}",
            "your {features:>{features}}",
            "key 'matches_features.default': is not a sentence (found 'Matches your "
            "{features:>{features}}'). Fix: name {features} in it.",
        ),
        (
            'last = " and "',
            "last = 5",
            "key 'lists.last': is not text (found 5). Fix: write it in quotes.",
        ),
        (
            "[feature_names]",
            "[feature_names]\nage = 5",
            "key 'feature_names.age': is not text (found 5). Fix: write it in quotes.",
        ),
        (
            'last = " and "',
            'between = " and "',
            "key 'lists.between': there is no such key. There are: separator, last.",
        ),
    ],
)
def test_a_file_of_sentences_that_is_not_right(
    english: str, wrong: str, message: str, tmp_path: Path
) -> None:
    text = ENGLISH.read_text(encoding="utf-8")
    assert english in text
    file = tmp_path / "reasons.toml"
    file.write_text(text.replace(english, wrong, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        ReasonSentences.load(file)
    assert str(caught.value) == f"{file}: {message}"


def test_a_file_of_sentences_that_cannot_be_read(tmp_path: Path) -> None:
    fix = "Fix: copy serving/answer/reasons.en.toml of the package and translate it."
    missing = tmp_path / "missing.toml"
    with pytest.raises(ConfigError) as caught:
        ReasonSentences.load(missing)
    assert str(caught.value) == f"{missing}: does not exist. {fix}"
    broken = tmp_path / "broken.toml"
    broken.write_text("[popular", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        ReasonSentences.load(broken)
    assert str(caught.value).startswith(f"{broken}: is not valid TOML: ")
    assert str(caught.value).endswith(fix)
