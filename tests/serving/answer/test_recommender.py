"""Answers: the fallback chain, what is left out, invented users, reasons, and similar items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from tests.data.small_shop import FEATURES, ITEMS, TEST, TRAIN, USERS, VALIDATION, config
from twotower.config import parse_config
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import PATHS, Ranked
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.splits import Parts
from twotower.data.features.histories import Histories
from twotower.data.tables.tables import Tables
from twotower.errors import DataError, NotFoundError
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.overlaid_model import OverlaidModel, PreparedModel
from twotower.serving.answer.reasons import normalized
from twotower.serving.answer.recommendation import Recommendation
from twotower.serving.answer.recommender import Recommender
from twotower.serving.answer.requests import AnswerRequest, encode_columns
from twotower.serving.answer.resolve_request import query_vectors, resolve

# Nums of the shop: users u1 u2 u9 = 2 3 4 (warm), u3 u7 = 5 6; items i1 i2 i4 = 2 3 4 (warm),
# i3 = 5 (cold, with features). Training: u2 took i1 and i2, u1 i2, u9 i4.

WITHOUT_CONTEXT = {side: FEATURES[side] for side in ("user", "item")}
KINDS = ["exact", "flat", "hnsw", "ivfpq"]


def shop(features: dict[str, Any] | None = None, items: pl.DataFrame = ITEMS) -> Recommender:
    """By default every feature, the context's, too."""
    settings = config(**({} if features is None else {"features": features}))
    tables = Tables(pl.concat([TRAIN, VALIDATION]), USERS, items, test=TEST)
    data = Dataset.from_parts(settings, tables, Parts(TRAIN, VALIDATION, TEST, "given", ""))
    model = TwoTower(settings.retriever, data.schema, seed=0)
    return Recommender.build(model, data.train, settings)


NUM_USERS, NUM_ITEMS = 50, 900
NOISE_RECALL = 0.9
"""Least recall among the vectors of an untrained model, which are noise: the hardest to search."""


def library(kind: str = "exact", **settings: Any) -> Recommender:
    """Ids alone: 50 readers took 20 of 900 books each, book 7 everybody."""
    rng = np.random.default_rng(0)
    books = [
        np.unique(np.append(rng.choice(NUM_ITEMS, 20, replace=False), 7)) for _ in range(NUM_USERS)
    ]
    catalogue = pl.DataFrame({"user_id": [999] * NUM_ITEMS, "item_id": range(NUM_ITEMS)})
    taken = pl.DataFrame(
        {
            "user_id": np.repeat(np.arange(NUM_USERS), [len(own) for own in books]),
            "item_id": np.concatenate(books),
        }
    )
    log = pl.concat([taken, catalogue])
    parsed = parse_config(
        {"data": {"interactions": "log.csv"}, "index": {"kind": kind}, **settings}
    )
    data = Dataset.from_parts(
        parsed, Tables(log), Parts(log, log.clear(), log.clear(), "random", "")
    )
    model = TwoTower(parsed.retriever, data.schema, seed=0)
    return Recommender.build(model, data.train, parsed)


LIBRARY = library()


def ids(answer: Recommendation) -> list[str | int]:
    return [item.item_id for item in answer.items]


def tastes() -> NDArray[np.float32]:
    """The item vectors without what is not compared between items."""
    return LIBRARY.served.index.vectors()[:, : LIBRARY.served.similarity_dim]


def rows_of(ranked: Ranked) -> list[list[int]]:
    return [[num for num in row if num >= 0] for row in ranked.item_nums.tolist()]


# --- the fallback chain ---


def test_each_step_of_the_chain_is_reported() -> None:
    found = shop(WITHOUT_CONTEXT).recommend(["u1", "u3", "u7", "nobody"], 2)
    assert [answer.path for answer in found] == ["known", "features", "popular", "popular"]
    assert [answer.user_id for answer in found] == ["u1", "u3", "u7", "nobody"]


def test_a_context_with_a_category_tells_what_is_popular_in_it() -> None:
    recommender = shop()
    phones = pl.DataFrame({"device": ["phone"] * 3})
    bare, told = (
        recommender.recommend(["u1", "u7", "nobody"], 2, context=rows) for rows in (None, phones)
    )
    for answers in (bare, told):
        assert [answer.path for answer in answers] == ["known", "popular", "popular"]
    assert bare[2].items[0].reason == "Popular right now"
    assert told[2].items[0].reason == "Popular on phone"
    unknown = recommender.recommend(["nobody"], 2, context=pl.DataFrame({"device": ["watch"]}))
    assert unknown[0].items == bare[2].items


def test_a_context_without_a_category_is_read_by_the_towers() -> None:
    recommender = shop({**FEATURES, "context": {"timestamp": {"type": "number"}}})
    found = recommender.recommend(["nobody"], 2, context=pl.DataFrame({"timestamp": [5]}))
    assert found[0].path == "features"


def test_users_of_the_tables_are_answered_in_their_contexts() -> None:
    recommender = shop({**FEATURES, "context": {"timestamp": {"type": "number"}}})
    context = encode_columns(recommender.served.schema, "context", {"timestamp": 5})
    stranger = np.array([-1])
    assert [PATHS[path] for path in recommender.paths(stranger)] == ["popular"]
    assert [PATHS[path] for path in recommender.paths(stranger, context)] == ["features"]
    ranked = recommender.top_k(stranger, 3, context=context)
    [answer] = recommender.recommend(["nobody"], 3, context=pl.DataFrame({"timestamp": [5]}))
    assert PATHS[ranked.path[0]] == answer.path == "features"
    nums = ranked.item_nums[0]
    assert recommender.items.ids.gather(nums).to_list() == ids(answer)


def test_a_context_makes_a_difference_and_a_missing_one_is_a_missing_value() -> None:
    recommender = shop()
    answers = [
        recommender.recommend(["u1"], 4, context=pl.DataFrame({"device": [value]}))[0]
        for value in ("phone", "desk", None)
    ]
    scores = [{item.item_id: item.score for item in answer.items} for answer in answers]
    assert scores[0] != scores[1]
    none = recommender.recommend(["u1"], 4)[0]
    assert none == answers[2]


def test_popularity_answers_with_counts() -> None:
    answer = shop(WITHOUT_CONTEXT).recommend(["nobody"], 9)[0]
    assert ids(answer) == ["i2", "i1", "i4", "i3"]
    assert [item.score for item in answer.items] == [2, 1, 1, 0]
    assert answer.items[0].reason_parameters == {"count": 2}


def test_without_the_user_id_training_users_are_answered_by_features() -> None:
    user = {**FEATURES["user"], "id": {"enabled": False}}
    found = shop({"user": user}).recommend(["u1", "u3", "nobody"], 2)
    assert [answer.path for answer in found] == ["features", "features", "popular"]


def test_with_ids_alone_who_is_not_in_training_gets_what_is_popular() -> None:
    found = LIBRARY.recommend([0, 999, 12345], 2)
    assert [answer.path for answer in found] == ["known", "known", "popular"]
    assert ids(found[2])[0] == 7


def test_ids_of_another_type_are_read_as_what_they_say() -> None:
    as_text, as_number = LIBRARY.recommend(["3", 3], 5)
    assert as_text.items == as_number.items
    assert as_text.path == "known"
    assert LIBRARY.recommend(["anna"], 1)[0].path == "popular"


def test_nobody_asks() -> None:
    assert LIBRARY.recommend([], 3) == []
    assert LIBRARY.top_k(np.zeros(0, dtype=np.int64), 3).item_nums.shape == (0, 3)


# --- the answers ---


def test_an_answer_has_the_columns_of_the_items_file() -> None:
    item = next(i for i in shop().recommend(["u1"], 9)[0].items if i.item_id == "i1")
    assert item.columns == {"genres": "crime|drama", "since": "2024-01-01"}


def test_best_first() -> None:
    for answer in LIBRARY.recommend(list(range(NUM_USERS)), 30):
        scores = [item.score for item in answer.items]
        assert scores == sorted(scores, reverse=True)
        assert len(set(ids(answer))) == 30


def test_a_cold_item_with_features_is_recommended_and_one_without_is_not() -> None:
    items = pl.concat(
        [ITEMS, pl.DataFrame({"item_id": ["i0"], "genres": [None], "since": [None]})],
        how="vertical_relaxed",
    )
    recommender = shop(WITHOUT_CONTEXT, items)
    answer = recommender.recommend(["u1"], 9, mask_seen=False)[0]
    assert sorted(map(str, ids(answer))) == ["i1", "i2", "i3", "i4"]
    # Popularity knows it, and ranks it with what nobody took.
    assert ids(recommender.recommend(["nobody"], 9)[0])[-2:] == ["i3", "i0"]


def test_items_that_training_did_not_see_can_be_left_out_of_the_index() -> None:
    settings = config(features=WITHOUT_CONTEXT)
    tables = Tables(pl.concat([TRAIN, VALIDATION]), USERS, ITEMS, test=TEST)
    data = Dataset.from_parts(settings, tables, Parts(TRAIN, VALIDATION, TEST, "given", ""))
    model = TwoTower(settings.retriever, data.schema, seed=0)
    kept = {
        new: Recommender.build(model, data.train, settings, index_new_items=new).served.index
        for new in (True, False)
    }
    nums = kept[True].item_nums
    assert len(nums[~data.items.is_warm(nums)]) > 0
    assert kept[False].item_nums.tolist() == nums[data.items.is_warm(nums)].tolist()


@pytest.mark.parametrize("mask_seen", [True, False])
def test_together_is_as_one_at_a_time(mask_seen: bool) -> None:
    for recommender, users in (
        (shop(WITHOUT_CONTEXT), ["u9", "nobody", "u3", "u1", "u7", "u2", "u1"]),
        (LIBRARY, [*range(40), "nobody", 999]),
    ):
        together = recommender.recommend(users, 3, mask_seen=mask_seen)
        alone = [recommender.recommend([user], 3, mask_seen=mask_seen)[0] for user in users]
        for one, other in zip(together, alone, strict=True):
            assert (one.user_id, one.path, ids(one)) == (other.user_id, other.path, ids(other))
            np.testing.assert_allclose(
                [item.score for item in one.items],
                [item.score for item in other.items],
                atol=1e-6,
            )


def test_many_users_are_answered_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from twotower.serving.answer import recommender as module

    users = np.array([-1, *range(2, 53), -1])
    seen_by_all = Ragged.group(np.arange(len(users)), np.full(len(users), 9), len(users))
    whole = LIBRARY.top_k(users, 5, excluded=seen_by_all)
    frames = list(LIBRARY.recommend_all(5))
    monkeypatch.setattr(module, "CHUNK", 4)
    cut = LIBRARY.top_k(users, 5, excluded=seen_by_all)
    assert cut.item_nums.tolist() == whole.item_nums.tolist()
    assert cut.path.tolist() == whole.path.tolist()
    in_parts = pl.concat(LIBRARY.recommend_all(5))
    assert len(list(LIBRARY.recommend_all(5))) == 13
    together = pl.concat(frames)
    assert in_parts.drop("score").equals(together.drop("score"))


def test_all_users_have_the_answers_that_each_gets_alone() -> None:
    recommender = shop(WITHOUT_CONTEXT)
    frame = pl.concat(recommender.recommend_all(3))
    assert frame.columns == ["user_id", "rank", "item_id", "score", "path"]
    users = ["u1", "u2", "u9", "u3", "u7"]
    assert frame["user_id"].unique(maintain_order=True).to_list() == users
    for answer in recommender.recommend(users, 3):
        part = frame.filter(pl.col("user_id") == answer.user_id)
        assert part["item_id"].to_list() == ids(answer)
        assert part["rank"].to_list() == list(range(1, len(answer.items) + 1))
        assert part["path"].unique().to_list() == [answer.path]


# --- what is left out ---


def test_seen_items_are_masked_unless_they_are_asked_for() -> None:
    recommender = shop(WITHOUT_CONTEXT)
    assert set(ids(recommender.recommend(["u2"], 9)[0])) == {"i3", "i4"}
    shown = recommender.recommend(["u2"], 9, mask_seen=False)[0]
    assert set(ids(shown)) == {"i1", "i2", "i3", "i4"}


def test_excluded_items_are_nobodys() -> None:
    recommender = shop(WITHOUT_CONTEXT)
    for answer in recommender.recommend(["u1", "u3", "nobody"], 9, exclude=["i4", "i3"]):
        assert not {"i3", "i4"} & set(ids(answer))
    everything = recommender.recommend(["u1", "nobody"], 9, exclude=["i1", "i2", "i3", "i4"])
    assert [answer.items for answer in everything] == [[], []]
    assert [answer.path for answer in everything] == ["known", "popular"]


def test_excluded_ids_that_are_no_item_are_passed_over() -> None:
    plain, strange = (
        LIBRARY.recommend([0, 1, 777_777], 5, exclude=exclude) for exclude in ((), ("x", 10**9))
    )
    assert plain == strange


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.01, 0.001])
def test_what_is_left_out_is_left_out_before_the_top_k(kind: str, share: float) -> None:
    """Against the whole ranking, filtered by hand."""
    k = 10
    recommender = LIBRARY if kind == "exact" else library(kind)
    users = np.append(np.arange(2, 22), -1)  # the last is answered by popularity
    allowed = np.zeros(len(recommender.items), dtype=np.bool_)
    rng = np.random.default_rng(1)
    allowed[rng.choice(np.arange(2, NUM_ITEMS + 2), max(1, int(share * NUM_ITEMS)), False)] = True
    excluded = Ragged.group(
        np.repeat(np.arange(len(users)), 30), rng.integers(2, 902, 30 * len(users)), len(users)
    )
    found = recommender.top_k(users, k, allowed=allowed, excluded=excluded)
    # Of so many items FAISS finds the whole ranking by exact search.
    everything = recommender.top_k(users, NUM_ITEMS, mask_seen=False)
    hits = total = 0
    for place, row in enumerate(rows_of(everything)):
        unwanted = {*excluded[place].tolist(), *recommender.served.seen.take(users)[place].tolist()}
        expected = [num for num in row if allowed[num] and num not in unwanted][:k]
        answer = rows_of(found)[place]
        assert len(answer) == len(expected)
        assert all(allowed[num] and num not in unwanted for num in answer)
        hits, total = hits + len(set(answer) & set(expected)), total + len(expected)
        if kind in ("exact", "flat"):
            assert answer == expected
    assert hits >= NOISE_RECALL * total


def test_k_beyond_the_catalogue_gives_what_there_is() -> None:
    answers = LIBRARY.recommend([0, 12345], 2_000)
    taken = len(LIBRARY.served.seen[2])
    assert [len(answer.items) for answer in answers] == [NUM_ITEMS - taken, NUM_ITEMS]


@pytest.mark.parametrize("k", [0, -3])
def test_k_that_is_no_count(k: int) -> None:
    recommender = shop()
    calls: list[Callable[[], object]] = [
        lambda: recommender.recommend(["u1"], k),
        lambda: recommender.recommend(["nobody"], k),
        lambda: recommender.recommend([], k),
        lambda: recommender.recommend_invented(USERS[:1], k),
        lambda: recommender.similar("i1", k),
        lambda: list(recommender.recommend_all(k)),
        lambda: recommender.top_k(np.array([2]), k),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="parameter") as error:
            call()
        assert str(error.value) == f"The 'k' parameter must be at least 1. Got {k} instead."


# --- diversity ---


def alike(answer: Recommendation) -> float:
    """The mean cosine of pairs of an answer's items."""
    vectors = tastes()[[int(item_id) for item_id in ids(answer)]]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = vectors @ vectors.T
    return float(pairs[np.triu_indices(len(pairs), 1)].mean())


def test_diversity_keeps_the_best_item_and_goes_away_from_it() -> None:
    plain, some, diverse = (
        LIBRARY.recommend([3], 8, diversity=value)[0] for value in (0.0, 0.5, 1.0)
    )
    assert ids(plain) == ids(LIBRARY.recommend([3], 8)[0])
    assert ids(plain)[0] == ids(some)[0] == ids(diverse)[0]
    assert alike(plain) > alike(some) > alike(diverse)
    taken = set(LIBRARY.items.ids.gather(LIBRARY.served.seen[5]).to_list())
    assert not taken & set(ids(diverse))
    frame = pl.concat(LIBRARY.recommend_all(8, diversity=1.0))
    assert frame.filter(pl.col("user_id") == 3)["item_id"].to_list() == ids(diverse)


@pytest.mark.parametrize("diversity", [-0.1, 1.5, float("nan")])
def test_diversity_outside_its_range(diversity: float) -> None:
    calls: list[Callable[[], object]] = [
        lambda: LIBRARY.recommend([3], diversity=diversity),
        lambda: LIBRARY.recommend_invented(pl.DataFrame({"age": [1]}), diversity=diversity),
        lambda: list(LIBRARY.recommend_all(diversity=diversity)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="The 'diversity' parameter must be from 0 to 1"):
            call()


# --- invented users ---


def test_an_invented_user_is_answered_as_a_user_with_these_features() -> None:
    recommender = shop(WITHOUT_CONTEXT)
    table = recommender.recommend(["u3"], 4)[0]
    invented = recommender.recommend_invented(pl.DataFrame({"age": [99], "city": ["Lima"]}), 4)[0]
    assert (invented.user_id, invented.path) == (None, "features")
    assert ids(invented) == ids(table)
    assert [item.score for item in invented.items] == pytest.approx(
        [item.score for item in table.items]
    )
    assert {item.reason for item in invented.items} == {"Matches your age and city"}


def test_features_of_an_invented_user_make_a_difference() -> None:
    rows = pl.DataFrame({"age": [20, 99], "city": ["Rome", "Oslo"]})
    one, other = shop(WITHOUT_CONTEXT).recommend_invented(rows, 4)
    assert [i.score for i in one.items] != [i.score for i in other.items]


def test_columns_of_an_invented_user_that_are_left_out_are_missing_values() -> None:
    recommender = shop(WITHOUT_CONTEXT)
    left_out = recommender.recommend_invented(pl.DataFrame({"age": [30]}), 4)
    missing = recommender.recommend_invented(pl.DataFrame({"age": [30], "city": [None]}), 4)
    assert left_out == missing


def test_an_invented_user_of_whom_nothing_is_known_gets_what_is_popular() -> None:
    recommender = shop(WITHOUT_CONTEXT)
    rows = pl.DataFrame({"age": [None, 30, None], "city": [None, None, "Rome"]})
    found = recommender.recommend_invented(rows, 4)
    assert [answer.path for answer in found] == ["popular", "features", "features"]
    assert found[0].items == recommender.recommend(["nobody"], 4)[0].items
    alone = [recommender.recommend_invented(rows[row : row + 1], 4)[0] for row in range(3)]
    assert [ids(answer) for answer in found] == [ids(answer) for answer in alone]
    by_id = LIBRARY.recommend_invented(pl.DataFrame({"age": [30]}), 1)
    assert (by_id[0].path, ids(by_id[0])) == ("popular", [7])


def test_an_invented_user_with_a_context() -> None:
    recommender = shop()
    context = pl.DataFrame({"device": ["phone", "desk"]})
    nobody = pl.DataFrame({"city": [None, None]})
    found = recommender.recommend_invented(nobody, 4, context=context)
    assert [answer.path for answer in found] == ["popular", "popular"]
    assert [i.score for i in found[0].items] != [i.score for i in found[1].items]
    someone = recommender.recommend_invented(
        pl.DataFrame({"city": ["Rome"] * 2}), 4, context=context
    )
    assert [answer.path for answer in someone] == ["features", "features"]
    assert [i.score for i in someone[0].items] != [i.score for i in someone[1].items]


def test_an_invented_users_value_of_another_type() -> None:
    with pytest.raises(DataError) as error:
        shop().recommend_invented(pl.DataFrame({"age": ["old"]}), 3)
    assert str(error.value) == (
        "row 1, column 'age': is declared as a number, but this value is not a number (found "
        "'old'). Fix: correct the value, leave the cell empty, or declare 'age' a category."
    )


def test_one_row_for_each_user() -> None:
    recommender, users = shop(), pl.DataFrame({"age": [30, 40]})
    phone = pl.DataFrame({"device": ["phone"]})
    rows = "parameter must have a row for each of 2 users. Got 1 rows instead."
    with pytest.raises(ValueError, match=f"^The 'context' {rows}$"):
        recommender.recommend(["u1", "u2"], context=phone)
    with pytest.raises(ValueError, match=f"^The 'context' {rows}$"):
        recommender.recommend_invented(users, context=phone)
    with pytest.raises(ValueError, match=f"^The 'histories' {rows}$"):
        recommender.recommend_invented(users, histories=[["i1"]])


def test_no_invented_user() -> None:
    rows = pl.DataFrame({"age": []}, schema={"age": pl.Int64})
    assert shop().recommend_invented(rows, 3) == []


# --- reasons ---


def test_reasons_follow_the_path() -> None:
    known, features, popular = shop(WITHOUT_CONTEXT).recommend(["u2", "u3", "u7"], 4)
    for item in known.items:
        assert item.reason in (
            'Similar to "i1" from your history',
            'Similar to "i2" from your history',
            "Matches your age",
        )
    assert {item.reason for item in features.items} == {"Matches your age and city"}
    assert [(item.reason, item.reason_parameters) for item in popular.items] == [
        ("Popular right now", {"count": 2}),
        ("Popular right now", {"count": 1}),
        ("Popular right now", {"count": 1}),
        ("From our catalog", {}),
    ]


def test_a_reason_names_the_item_of_the_users_own_history_that_is_nearest() -> None:
    nums = LIBRARY.served.index.item_nums.tolist()
    vectors = dict(zip(nums, normalized(tastes()), strict=True))
    answer = LIBRARY.recommend([5], 5)[0]
    own = LIBRARY.served.seen[int(LIBRARY.users.nums(pl.Series([5]))[0])].tolist()
    for item in answer.items:
        vector = vectors[int(LIBRARY.items.nums(pl.Series([item.item_id]))[0])]
        cosines = {num: float(vectors[num] @ vector) for num in own}
        best = max(cosines, key=lambda num: cosines[num])
        name, cosine = LIBRARY.items.ids[best], cosines[best]
        if cosine <= 0:
            assert item.reason == "Recommended for you"
            continue
        assert item.reason == f'Similar to "{name}" from your history'
        assert item.reason_parameters == {
            "item_id": name,
            "item": str(name),
            "event_type": None,
            "similarity": pytest.approx(cosine, abs=1e-4),
        }


def test_an_item_outside_the_catalogue_in_a_history_is_no_reason() -> None:
    # Its num, -1, would be read as the last item of the table.
    recommender = shop(WITHOUT_CONTEXT)
    nums = recommender.served.seen.values
    histories = Histories(Ragged(recommender.served.seen.offsets, 0 * nums - 1))
    served = recommender.served.with_users(recommender.users, histories)
    answer = Recommender(served).recommend(["u2"], 4)[0]
    assert answer.path == "known"
    assert {item.reason for item in answer.items} == {"Matches your age"}


# --- similar items ---


def test_similar_items_are_the_nearest_and_not_the_item_itself() -> None:
    vectors = tastes()
    found = LIBRARY.similar(7, 5)
    place = int(LIBRARY.items.nums(pl.Series([7]))[0]) - 2
    order = np.argsort(-(vectors @ vectors[place]))
    assert order[0] == place
    assert [item.item_id for item in found] == LIBRARY.items.ids.gather(order[1:6] + 2).to_list()
    assert {item.reason for item in found} == {"Similar item"}
    scores = vectors[order[1:6]] @ vectors[place]
    np.testing.assert_allclose([item.score for item in found], scores, atol=1e-6)


def test_similar_gives_what_there_is() -> None:
    recommender = shop()
    assert {item.item_id for item in recommender.similar("i3", 99)} == {"i1", "i2", "i4"}
    assert len(LIBRARY.similar("7", 2_000)) == NUM_ITEMS - 1


@pytest.mark.parametrize(
    ("item_id", "text"),
    [
        ("i33", "column 'item_id': no such item, did you mean 'i3'? (found 'i33')."),
        ("zebra", "column 'item_id': no such item (found 'zebra')."),
        (5, "column 'item_id': no such item (found 5)."),
    ],
)
def test_similar_to_an_unknown_item(item_id: str | int, text: str) -> None:
    with pytest.raises(DataError) as error:
        shop().similar(item_id)
    assert str(error.value) == text


def test_similar_to_an_item_without_a_vector() -> None:
    items = pl.concat(
        [ITEMS, pl.DataFrame({"item_id": ["i0"], "genres": [None], "since": [None]})],
        how="vertical_relaxed",
    )
    with pytest.raises(DataError) as error:
        shop(items=items).similar("i0")
    assert str(error.value) == (
        "column 'item_id': the item has no vector: training never saw it, and no feature of it is "
        "known (found 'i0'). Fix: give it values of the item features."
    )


# --- vectors ---


def test_vectors_of_users_and_items_are_those_that_answer() -> None:
    ids, queries = LIBRARY.user_vectors(np.array([5, 7]))
    assert ids == [5, 7]
    names, vectors = LIBRARY.item_vectors(pl.Series(["3", "4", "899"]))
    assert names == ["3", "4", "899"]
    every = LIBRARY.top_k(LIBRARY.users.nums(pl.Series(ids)), NUM_ITEMS, mask_seen=False)
    for row, scores in enumerate(queries @ vectors.T):
        for name, score in zip(names, scores, strict=True):
            place = every.item_nums[row].tolist().index(LIBRARY.items.num(name))
            assert every.scores[row, place] == pytest.approx(score, abs=1e-6)
    model = OverlaidModel.of(PreparedModel(LIBRARY.served))
    asked = [resolve(AnswerRequest(user_id), model) for user_id in ids]
    np.testing.assert_allclose(query_vectors(asked, model), queries, atol=1e-6)
    one, alone = LIBRARY.user_vectors(7)
    assert one == [7]
    assert np.array_equal(alone, queries[1:])
    one, alone = LIBRARY.item_vectors("4")
    assert one == ["4"]
    assert np.array_equal(alone, vectors[1:2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda one: one.user_vectors("u33"),
            "column 'user_id': no such user, did you mean 'u3'? (found 'u33').",
        ),
        (
            lambda one: one.user_vectors(["u1", "zebra", "lion"]),
            "column 'user_id': 2 of 3 users are unknown (found 'zebra').",
        ),
        (
            lambda one: one.item_vectors(["i1", "i3", "i2"]),
            "column 'item_id': 1 of 3 items have no vector: training never saw them, and no "
            "feature of them is known (found 'i3').",
        ),
    ],
)
def test_vectors_of_what_is_not_there(call: Callable[[Recommender], Any], message: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        call(shop({}))
    assert str(caught.value) == message


# --- how it is shown ---


def test_answers_as_a_frame() -> None:
    recommender = shop(WITHOUT_CONTEXT)
    frame = recommender.recommend(["nobody", "u7"], 3, exclude=["i4"], as_frame=True)
    assert frame.rows() == [
        ("nobody", 1, "i2", 2.0, "popular", "Popular right now"),
        ("nobody", 2, "i1", 1.0, "popular", "Popular right now"),
        ("nobody", 3, "i3", 0.0, "popular", "From our catalog"),
        ("u7", 1, "i2", 2.0, "popular", "Popular right now"),
        ("u7", 2, "i1", 1.0, "popular", "Popular right now"),
        ("u7", 3, "i3", 0.0, "popular", "From our catalog"),
    ]
    assert frame.columns == ["user_id", "rank", "item_id", "score", "path", "reason"]
    assert recommender.recommend([], 3, as_frame=True).schema == frame.schema
    whole = LIBRARY.recommend(np.array([3, 998]), 2, as_frame=True)
    assert whole["user_id"].to_list() == [3, 3, 998, 998]
    mixed = LIBRARY.recommend([3, "nobody"], 1, as_frame=True)
    assert mixed["user_id"].to_list() == ["3", "nobody"]


def test_an_answer_shows_itself() -> None:
    recommender = shop(WITHOUT_CONTEXT)
    assert repr(recommender) == (
        "Recommender(4 items, 5 users, index='exact', stages=('retrieve',))"
    )
    four, three, none = (
        recommender.recommend("<b>", k, exclude=left_out)
        for k, left_out in ((4, []), (3, []), (3, ["i1", "i2", "i3", "i4"]))
    )
    assert repr(four) == "Recommendation('<b>', path='popular', 4 items: i2, i1, i4, ...)"
    assert repr(three) == "Recommendation('<b>', path='popular', 3 items: i2, i1, i4)"
    assert repr(none) == "Recommendation('<b>', path='popular', 0 items)"
    assert recommender.recommend("<b>", 2)._repr_html_() == (
        "<p>For user &lt;b&gt; (path: popular)</p><table>"
        "<tr><th></th><th>item</th><th>score</th><th>reason</th></tr>"
        "<tr><td>1</td><td>i2</td><td>2.000</td><td>Popular right now</td></tr>"
        "<tr><td>2</td><td>i1</td><td>1.000</td><td>Popular right now</td></tr></table>"
    )
    assert recommender._repr_html_() == (
        "<code>Recommender(4 items, 5 users, index=&#x27;exact&#x27;, "
        "stages=(&#x27;retrieve&#x27;,))</code>"
    )


# --- building ---


@pytest.mark.parametrize("kind", KINDS)
def test_the_recall_of_the_index_is_measured(kind: str) -> None:
    recommender = LIBRARY if kind == "exact" else library(kind)
    assert recommender.served.index.kind == kind
    assert NOISE_RECALL <= recommender.served.index_recall <= 1.0
    if kind in ("exact", "flat"):
        assert recommender.served.index_recall == 1.0


def test_a_poor_index_is_known_to_be_one() -> None:
    poor = library(index={"kind": "hnsw", "hnsw_m": 2, "ef_construction": 4, "ef_search": 1})
    assert poor.served.index_recall < 0.9


def test_only_items_with_a_vector_are_in_the_index_and_no_padding() -> None:
    assert LIBRARY.served.index.item_nums.tolist() == list(range(2, NUM_ITEMS + 2))
    assert LIBRARY.served.num_users == NUM_USERS + 1
    assert shop().served.index.item_nums.tolist() == [2, 3, 4, 5]
    assert shop({}).served.index.item_nums.tolist() == [2, 3, 4]


def test_users_that_come_later_are_answered() -> None:
    recommender = shop(WITHOUT_CONTEXT)
    before = recommender.recommend(["u1", "u3"], 3)
    users = recommender.users.with_more(pl.Series(["late"]))
    recommender = Recommender(recommender.served.with_users(users))
    assert recommender.served.num_users == 6
    assert recommender.recommend(["late"], 3)[0].path == "popular"
    assert recommender.recommend(["u1", "u3"], 3) == before
    ranked = recommender.top_k(np.array([7]), 2)
    assert [PATHS[path] for path in ranked.path] == ["popular"]
