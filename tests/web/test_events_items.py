"""Events and items: durable before they are acknowledged, and known to the next answer."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest

from tests.web.conftest import Serve
from tests.web.server import Server, ids
from twotower.serving.store.opening import open_store

DUNE = {
    "item_id": "new-1",
    "columns": {"title": "Dune", "genres": ["science"], "price": 9.5, "release_year": 2021},
}


def event(number: int, **fields: Any) -> dict[str, Any]:
    return {"event_id": f"e{number}", "user_id": "anna", "item_id": "i00003", **fields}


# --- events ---


def test_the_next_answer_knows_an_event(server: Server) -> None:
    before = server.recommend("newcomer")
    assert before["path"] == "popular"
    taken = ids(before)[0]
    posted = server.post("/v1/events", {"user_id": "newcomer", "item_id": taken})
    assert (posted["accepted"], posted["duplicates"]) == (1, 0)
    after = server.recommend("newcomer", k=120)
    assert after["path"] == "history"
    assert taken not in ids(after)
    reason = after["items"][0]["reason"]
    assert reason.startswith('Similar to "')
    assert reason.endswith('" from your history')
    state = server.get("/v1/users/newcomer")
    assert [(one["item_id"], one["live"]) for one in state["history"]] == [(taken, True)]
    assert state["events_read"] == 1


def test_a_known_users_event_changes_scores_and_masks(server: Server) -> None:
    before = server.recommend("u00005", k=5)
    server.post("/v1/events", {"user_id": "u00005", "item_id": ids(before)[0]})
    after = server.recommend("u00005", k=5)
    assert ids(before)[0] not in ids(after)
    shared = {i["item_id"]: i["score"] for i in before["items"]}.items() & {
        i["item_id"]: i["score"] for i in after["items"]
    }.items()
    assert not shared


def test_an_event_is_stored_once(server: Server) -> None:
    assert server.post("/v1/events", event(1))["accepted"] == 1
    again = server.post("/v1/events", {"events": [event(1), event(2), event(2)]})
    assert (again["accepted"], again["duplicates"]) == (1, 2)
    assert again["event_ids"] == ["e1", "e2", "e2"]
    assert len(server.get("/v1/users/anna")["history"]) == 2


def test_a_batch_of_events_is_stored_whole_or_not_at_all(server: Server) -> None:
    wrong = [event(10, user_id="whole"), {"user_id": "whole"}]
    code, message = server.refused("POST", "/v1/events", 422, json={"events": wrong})
    assert (code, message) == (
        "invalid_request",
        "body.several.events.1.item_id: Field required",
    )
    assert server.get("/v1/users/whole")["history"] == []


def test_many_events_of_several_requests_are_stored_whole_and_in_their_order(serve: Serve) -> None:
    server = serve(only=("one",))
    sent = [
        [event(1000 * batch + n, user_id=f"of-{batch}", context={"place": n}) for n in range(1000)]
        for batch in range(3)
    ]
    wrong = [event(10_000 + n, context={"user_id": "x"} if n == 950 else {}) for n in range(1000)]
    unknown = [event(20_000 + n, item_id="?" if n == 777 else "i00003") for n in range(778)]
    with ThreadPoolExecutor(5) as pool:
        posts = [pool.submit(server.post, "/v1/events", {"events": part}) for part in sent]
        odd = pool.submit(server.post, "/v1/events", {"events": unknown})
        refused = pool.submit(server.post, "/v1/events", {"events": wrong}, 422)
    for part, post in zip(sent, posts, strict=True):
        assert post.result()["accepted"] == 1000
        assert post.result()["event_ids"] == [one["event_id"] for one in part]
    assert [one["field"] for one in odd.result()["warnings"]] == ["events.777.item_id"]
    message = refused.result()["error"]["message"]
    assert message.startswith("row 951, column 'context'")
    with closing(open_store(server.events)) as store:
        for batch in range(3):
            stored = store.events_of(f"of-{batch}")
            assert [one.context["place"] for one in stored] == list(range(1000))
        assert len(store.events_of("anna")) == 778


def test_events_of_an_unknown_item_are_kept_and_passed_over(server: Server) -> None:
    server.post("/v1/events", {"user_id": "odd", "item_id": "no such item"})
    assert server.recommend("odd")["path"] == "popular"
    assert server.get("/v1/users/odd")["history"][0]["item_id"] == "no such item"


def test_odd_events_are_stored_shown_and_counted(server: Server) -> None:
    now = int(time.time())
    odd = [
        event(20, item_id="i99999"),
        event(21, timestamp=now + 10 * 365 * 86_400),
        event(22, timestamp=5),
        event(23),
    ]
    posted = server.post("/v1/events", {"events": odd})
    assert posted["accepted"] == 4
    assert [(one["code"], one["field"]) for one in posted["warnings"]] == [
        ("unknown_item", "events.0.item_id"),
        ("odd_time", "events.1.timestamp"),
        ("odd_time", "events.2.timestamp"),
    ]
    counted = server.client.get("/metrics").text
    assert 'twotower_odd_events_total{problem="odd_time"} 2.0' in counted


SEND = "send seconds since 1970, UTC, or ISO 8601 text"


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (1_714_560_000, 1_714_560_000),
        (1_714_560_000.0, 1_714_560_000),
        ("2024-05-01T10:40:00Z", 1_714_560_000),
        ("2024-05-01T10:40:00", 1_714_560_000),
        ("2024-05-01t12:40:00+02:00", 1_714_560_000),
        ("2024-05-01 10:40:00.999", 1_714_560_000),
        ("2024-05-01", 1_714_521_600),
        ("20240501", 1_714_521_600),
        (None, None),
    ],
)
def test_a_time_is_seconds_or_text(server: Server, sent: object, seconds: int | None) -> None:
    user = f"at {sent!r}"
    before = int(time.time())
    assert (
        server.post("/v1/events", event(50, event_id=None, user_id=user, timestamp=sent))[
            "warnings"
        ]
        == []
    )
    stored = server.get(f"/v1/users/{user}")["history"][0]["timestamp"]
    if seconds is None:
        assert before <= stored <= time.time()
    else:
        assert stored == seconds
    # The history of a request has the same times.
    history = [{"item_id": "i00003", "timestamp": sent}]
    assert server.recommend(history=history)["path"] == "history"


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (1e30, f"this time is in the future; {SEND}"),
        (10**30, f"this time is in the future; {SEND}"),
        (1_714_560_000_000, f"this time is in the future, and looks like milliseconds; {SEND}"),
        (1_714_560_000_000_000, f"this time is in the future, and looks like microseconds; {SEND}"),
        (
            1_714_560_000_000_000_000,
            f"this time is in the future, and looks like nanoseconds; {SEND}",
        ),
        (-1, f"this time is before the year 2000; {SEND}"),
        ("1969-12-31", f"this time is before the year 2000; {SEND}"),
        ("9999-12-31", f"this time is in the future; {SEND}"),
        (1_714_560_000.5, f"this time is not a whole number; {SEND}"),
        ("1714560000", f"this text is not a time in ISO 8601; {SEND}"),
        ("01.05.2024", f"this text is not a time in ISO 8601; {SEND}"),
        ("yesterday", f"this text is not a time in ISO 8601; {SEND}"),
        ("", f"this text is not a time in ISO 8601; {SEND}"),
        (True, f"this is not a time; {SEND}"),
        ([1], f"this is not a time; {SEND}"),
    ],
)
def test_what_cannot_be_a_time_is_refused_in_words(
    server: Server, sent: object, message: str
) -> None:
    body = event(60, user_id="refused", timestamp=sent)
    assert server.refused("POST", "/v1/events", 422, json=body) == (
        "invalid_request",
        f"body.one.timestamp: {message}",
    )
    history = [{"item_id": "i00003", "timestamp": sent}]
    answer = server.refused("POST", "/v1/recommendations", 422, json={"history": history})
    assert message in answer[1]
    assert server.get("/v1/users/refused")["history"] == []


@pytest.mark.parametrize(
    ("years", "when"),
    [(-50, "before the year 2000"), (10, "in the future"), (100, "in the future")],
)
def test_an_odd_time_is_stored_and_named(server: Server, years: int, when: str) -> None:
    moment = int(time.time()) + years * 365 * 86_400
    posted = server.post("/v1/events", event(70, event_id=None, timestamp=moment))
    assert [(one["code"], one["message"]) for one in posted["warnings"]] == [
        ("odd_time", f"this time is {when}; {SEND}")
    ]


def test_an_unknown_key_of_an_event_is_answered_with_what_to_use(server: Server) -> None:
    for body in (event(30, price=3), {"events": [event(30, price=3)]}):
        code, message = server.refused("POST", "/v1/events", 422, json=body)
        assert code == "invalid_request"
        assert "an event has no field 'price'" in message
        assert message.endswith("Values of your own belong in 'context'")
    _, message = server.refused("POST", "/v1/events", 422, json=event(31, eventtype="buy"))
    assert "did you mean 'event_type'?" in message


def test_an_answer_is_kept_with_its_request_id(server: Server) -> None:
    answer = server.recommend("u00007", k=3)
    server.post(
        "/v1/events",
        {"user_id": "u00007", "item_id": ids(answer)[0], "request_id": answer["request_id"]},
    )
    # `DELETE` of anybody stores what is held in memory first.
    server.delete("/v1/users/somebody-else")
    store = open_store(server.events)
    try:
        kept = store.find_impression(answer["request_id"])
        named = store.events_of("u00007")[-1]
    finally:
        store.close()
    assert kept is not None
    assert kept.item_ids == tuple(ids(answer))
    assert (kept.user_id, kept.model_version, kept.path) == ("u00007", "one", "known")
    assert named.request_id == answer["request_id"]


def test_a_forgotten_user_is_nobody(server: Server) -> None:
    server.post("/v1/events", {"user_id": "u00009", "item_id": "i00003"})
    assert server.recommend("u00009")["path"] == "known"
    removed = server.delete("/v1/users/u00009")
    assert (removed["events"], removed["user_id"]) == (1, "u00009")
    assert server.recommend("u00009")["path"] == "popular"
    state = server.get("/v1/users/u00009")
    assert (state["history"], state["columns"], state["in_training"]) == ([], {}, False)
    found = server.get("/v1/users", q="u00009")
    assert (found["users"], found["total"]) == ([], 0)


def test_the_studio_shows_no_forgotten_user(server: Server) -> None:
    shown = [user["user_id"] for user in server.get("/studio/api/bundle")["users"]]
    for user_id in shown[:3]:
        server.delete(f"/v1/users/{user_id}")
    left = [user["user_id"] for user in server.get("/studio/api/bundle")["users"]]
    assert left == shown[3:]


# --- items ---


def test_a_new_item_is_recommended_at_once_and_a_removed_one_no_more(server: Server) -> None:
    put = server.put("/v1/items", {"items": [DUNE]})
    assert (put["added"], put["changed"], put["without_vector"]) == (1, 0, [])
    only = {"column": "title", "equals": "Dune"}
    for user_id in ("u00003", "nobody"):
        found = server.recommend(user_id, filter=only)
        assert ids(found) == ["new-1"]
        assert found["items"][0]["columns"] == DUNE["columns"]
    assert ids(server.get("/v1/items/new-1/similar"))
    assert server.get("/v1/items", q="dune")["items"][0]["added"]
    assert len(ids(server.recommend(k=200))) == 121
    server.post("/v1/events", {"user_id": "reader", "item_id": "new-1"})
    reason = server.recommend("reader")["items"][0]["reason"]
    assert reason == 'Similar to "Dune" from your history'
    server.delete("/v1/items/new-1")
    assert ids(server.recommend("u00003", filter=only)) == []
    assert server.refused("GET", "/v1/items/new-1", 404)[0] == "not_found"
    assert server.refused("DELETE", "/v1/items/new-1", 404)[0] == "not_found"


def test_an_item_of_the_bundle_is_described_anew_removed_and_brought_back(server: Server) -> None:
    item = server.get("/v1/items/i00011")
    dear = {**item["columns"], "price": 99.0}
    put = server.put("/v1/items", {"items": [{"item_id": "i00011", "columns": dear}]})
    assert (put["added"], put["changed"]) == (0, 1)
    dearest = {"column": "price", "range": {"min": 98}}
    found = server.recommend("u00003", filter=dearest, mask_seen=False)
    assert ids(found) == ["i00011"]
    server.delete("/v1/items/i00011")
    everything = server.recommend("u00003", k=200, mask_seen=False)
    assert "i00011" not in ids(everything)
    assert "i00011" not in ids(server.recommend(k=200))
    server.put("/v1/items", {"items": [{"item_id": "i00011", "columns": dear}]})
    assert len(ids(server.recommend("u00003", k=200, mask_seen=False))) == len(ids(everything)) + 1


def test_an_item_without_a_feature_is_kept_and_only_popularity_answers_it(server: Server) -> None:
    put = server.put("/v1/items", {"items": [{"item_id": "bare", "columns": {"title": "Bare"}}]})
    assert put["without_vector"] == ["bare"]
    only = {"column": "title", "equals": "Bare"}
    assert ids(server.recommend("u00003", filter=only)) == []
    assert ids(server.recommend("nobody", filter=only)) == ["bare"]
    assert server.refused("GET", "/v1/items/bare/similar", 404)[0] == "not_found"
    server.delete("/v1/items/bare")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"titel": "x"},
            "row 2, column 'titel': the items have no such column, did you mean 'title'? There "
            "are: title, description, genres, price, release_year, cover.",
        ),
        (
            {"price": "dear"},
            "row 2, column 'price': is declared as a number, but this value is not a number "
            "(found 'dear').",
        ),
        (
            {"price": -3},
            "row 2, column 'price': has log = true but contains a negative value (found -3).",
        ),
    ],
)
def test_a_wrong_item_refuses_all(server: Server, columns: Any, message: str) -> None:
    items = [{"item_id": "fine", "columns": {"price": 1}}, {"item_id": "odd", "columns": columns}]
    body = {"items": items, "strict": True}
    assert server.refused("PUT", "/v1/items", 422, json=body)[1] == message
    assert server.refused("GET", "/v1/items/fine", 404)[0] == "not_found"


# --- what a crash leaves ---


def test_many_items_are_put_whole_or_not_at_all(server: Server) -> None:
    def many(price: Any) -> dict[str, Any]:
        rows = [
            {"item_id": f"many-{n}", "columns": {"title": f"Dune {n}", "price": n}}
            for n in range(170)
        ]
        rows[116]["columns"] = {"title": "Dune", "price": price}
        return {"items": rows}

    before = server.recommend(k=1)["items"]
    _, message = server.refused("PUT", "/v1/items", 422, json=many("cheap"))
    assert message.startswith("row 117, column 'price': ")
    assert server.get("/v1/items", q="many-")["total"] == 0
    assert server.recommend(k=1)["items"] == before
    answer = server.put("/v1/items", many(7))
    assert (answer["added"], answer["changed"], answer["without_vector"]) == (170, 0, [])
    found = server.get("/v1/items", q="many-", limit=200)["items"]
    assert [one["item_id"] for one in found] == [f"many-{n}" for n in range(170)]
    assert all(one["has_vector"] for one in found)
    near = server.get("/v1/items/many-3/similar", k=20)["items"]
    assert [one for one in near if one["item_id"].startswith("many-")]
    for one in found:
        server.delete(f"/v1/items/{one['item_id']}")


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9(serve: Serve) -> None:
    server = serve()
    server.put("/v1/items", {"items": [DUNE]})
    server.delete("/v1/items/i00011")
    acknowledged: list[str] = []
    posting = threading.Thread(target=post_until_it_dies, args=(server, acknowledged))
    posting.start()
    while len(acknowledged) < 50:
        assert posting.is_alive()
    server.kill()
    posting.join(30)
    assert not posting.is_alive()
    server.restart()
    state = server.get("/v1/users/crash")
    kept = {one["item_id"] for one in state["history"]}
    assert set(acknowledged) <= kept
    assert len(kept) <= len(acknowledged) + 1
    assert server.get("/v1/items/new-1")["added"]
    assert server.refused("GET", "/v1/items/i00011", 404)[0] == "not_found"


def post_until_it_dies(server: Server, acknowledged: list[str]) -> None:
    with httpx.Client(base_url=server.client.base_url, timeout=30) as client:
        for number in range(100_000):
            item = f"item-{number}"
            body = {"event_id": item, "user_id": "crash", "item_id": item}
            try:
                answer = client.post("/v1/events", json=body)
            except httpx.TransportError:
                return
            assert answer.status_code == 200
            acknowledged.append(item)


def test_a_stop_answers_what_is_in_flight_and_keeps_impressions(serve: Serve) -> None:
    server = serve()
    answers: list[Any] = []
    with httpx.Client(base_url=server.client.base_url, timeout=30) as client:
        answers += [
            client.post("/v1/recommendations", json={"user_id": f"u{n:05}"}) for n in range(20)
        ]
    assert server.stop() == 0
    store = open_store(server.events)
    try:
        for answer in answers:
            assert store.find_impression(answer.json()["request_id"]) is not None
    finally:
        store.close()
