"""Answers over HTTP: what they hold, filters before the top-k, invented users, batches, ranking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.web.server import Server, ids
from twotower.serving.answer.recommender import Recommender
from twotower.web import wire

NUM_ITEMS = 120
USER = "u00003"


@pytest.fixture(scope="module")
def recommender(trained: Path) -> Recommender:
    return Recommender.load(trained / "one")


def test_a_known_user_gets_what_the_recommender_gives(
    server: Server, recommender: Recommender
) -> None:
    expected = recommender.recommend([USER], 7)[0]
    found = server.recommend(USER, k=7)
    assert ids(found) == [item.item_id for item in expected.items]
    assert [item["score"] for item in found["items"]] == pytest.approx(
        [item.score for item in expected.items], abs=1e-6
    )
    assert [item["reason"] for item in found["items"]] == [i.reason for i in expected.items]
    assert found["items"][0]["columns"] == expected.items[0].columns
    assert found["items"][0]["scores"].keys() == {"retrieve", "blend"}
    assert found["items"][0]["scores"]["blend"] == found["items"][0]["score"]
    head = {name: found[name] for name in ("user_id", "path", "live", "model_version", "variant")}
    assert head == {
        "user_id": USER,
        "path": "known",
        "live": True,
        "model_version": "one",
        "variant": None,
    }
    assert {"queue", "lookup", "retrieve", "describe", "total"} <= found["timings_ms"].keys()


def test_an_invented_user_gets_what_the_recommender_gives(
    server: Server, recommender: Recommender
) -> None:
    import polars as pl

    user = {"age": 30, "region": "north"}
    expected = recommender.recommend_invented(
        pl.DataFrame([user]),
        5,
        histories=[["i00003", "i00007"]],
        context=pl.DataFrame({"device": ["phone"]}),
    )[0]
    found = server.recommend(
        user=user, history=["i00003", "i00007"], context={"device": "phone"}, k=5
    )
    assert (found["path"], found["user_id"]) == ("history", None)
    assert ids(found) == [item.item_id for item in expected.items]


def test_each_path_of_the_chain(server: Server) -> None:
    paths = [
        server.recommend(**fields)["path"]
        for fields in (
            {"user_id": USER},
            {"user_id": "nobody"},
            {"user": {"age": 40}},
            {"user": {"age": None}},
            {"context": {"device": "phone"}},
            {"history": ["i00003"]},
            {"history": ["no such item"]},
            {},
        )
    ]
    assert paths == [
        "known",
        "popular",
        "features",
        "popular",
        "popular",
        "history",
        "popular",
        "popular",
    ]


def test_a_history_beside_a_user_counts_for_this_answer_alone(server: Server) -> None:
    before = server.recommend(USER)
    taken = ids(before)[0]
    told = server.recommend(USER, history=[taken])
    assert taken not in ids(told)
    assert [item["score"] for item in told["items"]] != [i["score"] for i in before["items"]]
    assert ids(server.recommend(USER)) == ids(before)


@pytest.mark.parametrize("user", [{"user_id": USER}, {"user_id": "nobody"}, {"user": {"age": 20}}])
@pytest.mark.parametrize(
    ("condition", "keeps"),
    [
        ({"column": "genres", "equals": "drama"}, lambda c: "drama" in c["genres"]),
        (
            {"column": "genres", "in": ["drama", "crime"]},
            lambda c: bool({"drama", "crime"} & set(c["genres"])),
        ),
        (
            {"column": "price", "range": {"min": 5, "max": 8.5}},
            lambda c: 5 <= c["price"] <= 8.5,
        ),
        ({"not": {"column": "genres", "equals": "drama"}}, lambda c: "drama" not in c["genres"]),
        (
            {
                "or": [
                    {"column": "price", "range": {"max": 5}},
                    {
                        "and": [
                            {"column": "release_year", "range": {"min": 2020}},
                            {"column": "genres", "equals": "crime"},
                        ]
                    },
                ]
            },
            lambda c: c["price"] <= 5 or (c["release_year"] >= 2020 and "crime" in c["genres"]),
        ),
        ({"column": "cover", "equals": None}, lambda c: c["cover"] is None),
        ({"column": "title", "equals": "no such title"}, lambda c: False),
    ],
)
def test_a_filter_is_applied_before_the_top_k(
    server: Server, recommender: Recommender, user: dict[str, Any], condition: Any, keeps: Any
) -> None:
    rows = recommender.items.frame[recommender.items.first_known :].to_dicts()
    kept = {row["item_id"] for row in rows if keeps(row)}
    found = server.recommend(**user, filter=condition, k=NUM_ITEMS, mask_seen=False)
    assert set(ids(found)) == kept
    first = server.recommend(**user, filter=condition, k=3, mask_seen=False)
    assert ids(first) == ids(found)[:3]


def test_seen_and_excluded_items_are_left_out_and_k_come_back(server: Server) -> None:
    history = server.get(f"/v1/users/{USER}")["history"]
    seen = {event["item_id"] for event in history}
    assert seen
    masked = server.recommend(USER, k=NUM_ITEMS)
    assert not seen & set(ids(masked))
    assert len(ids(masked)) == NUM_ITEMS - len(seen)
    assert len(ids(server.recommend(USER, k=NUM_ITEMS, mask_seen=False))) == NUM_ITEMS
    best = ids(masked)[:4]
    assert ids(server.recommend(USER, k=4, exclude=[*best[:2], "unknown"]))[:2] == best[2:]


def test_diversity_changes_the_order_and_not_the_filters(server: Server) -> None:
    plain, diverse = (server.recommend(USER, k=10, diversity=d) for d in (0, 1))
    assert ids(plain) != ids(diverse)
    assert ids(plain)[0] == ids(diverse)[0]
    assert "diversify" in diverse["timings_ms"]


def test_reasons_can_be_left_out(server: Server) -> None:
    assert {item["reason"] for item in server.recommend(USER, reasons=False)["items"]} == {""}


def test_a_batch_is_answered_as_each_alone(server: Server) -> None:
    asks: list[dict[str, Any]] = [
        {"user_id": USER, "k": 3},
        {"user_id": "nobody", "k": 2},
        {"history": ["i00003"], "k": 4},
        {"user_id": USER, "k": 3, "filter": {"column": "genres", "equals": "drama"}},
    ]
    found = server.post("/v1/recommendations:batch", {"requests": asks})
    wire.BatchAnswer.model_validate(found)
    for place, (ask, answer) in enumerate(zip(asks, found["answers"], strict=True)):
        alone = server.recommend(**ask)
        assert ids(answer) == ids(alone)
        assert answer["path"] == alone["path"]
        assert answer["request_id"] == f"{found['request_id']}.{place}"


def test_one_wrong_request_refuses_its_batch_and_is_named(server: Server) -> None:
    asks = [{"user_id": USER}, {"user": {"agee": 1}, "strict": True}]
    refused = server.refused("POST", "/v1/recommendations:batch", 422, json={"requests": asks})
    assert refused == (
        "invalid_request",
        "requests.1: column 'agee': there is no user feature that reads it, did you mean 'age'? "
        "There are: age, region, occupation.",
    )


def test_ranking_orders_given_items_as_recommendations_do(server: Server) -> None:
    best = server.recommend(USER, k=5)
    wanted = [*reversed(ids(best)), "unknown", ids(best)[0]]
    ranked = server.post("/v1/rank", {"user_id": USER, "items": wanted})
    wire.RankAnswer.model_validate(ranked)
    assert ids(ranked) == ids(best)
    assert ranked["unknown"] == ["unknown"]
    assert [item["score"] for item in ranked["items"]] == pytest.approx(
        [item["score"] for item in best["items"]], abs=1e-6
    )
    popular = server.post("/v1/rank", {"items": wanted})
    shown = [item["score"] for item in popular["items"]]
    assert shown == sorted(shown, reverse=True)
    everybody = server.recommend(k=200)["items"]
    known = {item["item_id"]: item["score"] for item in everybody}
    assert shown == [known[item] for item in ids(popular)]


def test_similar_items_are_those_of_the_recommender(
    server: Server, recommender: Recommender
) -> None:
    found = server.get("/v1/items/i00003/similar", k=5)
    assert ids(found) == [item.item_id for item in recommender.similar("i00003", 5)]
    assert server.refused("GET", "/v1/items/i99/similar", 404) == (
        "not_found",
        "column 'item_id': no such item (found 'i99').",
    )


def test_the_catalogue_is_searched_and_paged(server: Server) -> None:
    pages: list[dict[str, Any]] = []
    offset: int | None = 0
    while offset is not None:
        page = server.get("/v1/items", offset=offset, limit=50)
        pages.append(page)
        offset = page["next_offset"]
    assert [len(page["items"]) for page in pages] == [50, 50, 20]
    every = [item["item_id"] for page in pages for item in page["items"]]
    assert len(set(every)) == NUM_ITEMS == pages[0]["total"]
    found = server.get("/v1/items", q="mIRRor", limit=100)
    assert found["total"] == len(found["items"]) > 0
    for item in found["items"]:
        assert "mirror" in str(item).lower()
    assert server.get("/v1/items", q="' OR 1=1 --")["total"] == 0


def test_a_user_is_shown_with_history_and_vector(server: Server, recommender: Recommender) -> None:
    found = server.get(f"/v1/users/{USER}")
    assert found["columns"].keys() == {"age", "region", "occupation"}
    assert found["in_training"]
    assert len(found["vector"]) == 16
    assert 0 < found["events_read"] <= len(found["history"])
    times = [event["timestamp"] for event in found["history"]]
    assert times == sorted(times)
    nobody = server.get("/v1/users/nobody")
    assert (nobody["path"], nobody["vector"], nobody["history"]) == ("popular", None, [])
    page = server.get("/v1/users", q="u0000", limit=3)
    assert (page["total"], len(page["users"]), page["next_offset"]) == (10, 3, 3)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/items", wire.ItemPage),
        ("/v1/items/i00003", wire.CatalogueItem),
        ("/v1/items/i00003/similar", wire.SimilarAnswer),
        ("/v1/users", wire.UserPage),
        (f"/v1/users/{USER}", wire.UserAnswer),
        ("/v1/model", wire.ModelAnswer),
        ("/v1/models", wire.ModelsAnswer),
        ("/v1/experiment", wire.ExperimentAnswer),
        ("/healthz", wire.Alive),
        ("/readyz", wire.Ready),
    ],
)
def test_answers_are_as_documented(server: Server, path: str, model: type[wire.Wire]) -> None:
    model.model_validate(server.get(path))


def test_recommendations_are_as_documented(server: Server) -> None:
    wire.Recommendations.model_validate(server.recommend(USER))


def test_a_request_can_be_named_and_each_answer_has_an_id(server: Server) -> None:
    named = server.client.get("/v1/model", headers={"X-Request-Id": "mine-1"})
    assert named.headers["x-request-id"] == "mine-1"
    odd = server.client.get("/v1/model", headers={"X-Request-Id": "a b\tc"})
    assert odd.headers["x-request-id"] not in ("", "a b\tc")


def test_the_metrics_tell_paths_stages_and_version(server: Server) -> None:
    server.recommend(USER)
    text = server.client.get("/metrics").text
    for line in (
        'twotower_answers_total{path="known",variant=""}',
        'twotower_stage_seconds_count{stage="retrieve"}',
        'twotower_request_seconds_count{route="/v1/recommendations"}',
        'twotower_model_info{version="one"} 1.0',
        "twotower_index_items 120.0",
        'twotower_unknown_ids_total{kind="user"}',
        'twotower_top_score_count{version="one"}',
    ):
        assert line in text
