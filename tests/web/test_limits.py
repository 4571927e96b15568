"""Hostile input, keys, limits, one shape of errors, and a log that tells no secrets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import twotower
from tests.web.conftest import Serve
from tests.web.server import Server, ids
from twotower.serving.store.keys import create_key
from twotower.serving.store.opening import open_store
from twotower.web.errors import STATUS

JSON_TYPE = {"Content-Type": "application/json"}
RECOMMEND = "/v1/recommendations"
SECRET = "a-feature-that-no-log-may-hold"


def send(server: Server, path: str, body: bytes, status: int) -> tuple[str, str]:
    headers = {"Content-Type": "application/json"}
    return server.refused("POST", path, status, content=body, headers=headers)


# --- bodies that are no requests ---


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"k": NaN}',
        b'{"user": {"age": Infinity}}',
        b'{"user_id": "\\ud800"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"filter":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"user_id": "a\nb"}',
    ],
)
def test_what_is_no_json_is_refused(server: Server, body: bytes) -> None:
    code, _ = send(server, RECOMMEND, body, 422 if not body else 400)
    assert code == ("invalid_request" if not body else "invalid_json")


def test_a_body_beyond_the_limit_is_refused(server: Server) -> None:
    huge = b'{"user_id": "' + b"x" * 10_000_000 + b'"}'
    expected = ("too_large", "the request body exceeds 2,000,000 bytes")
    assert send(server, RECOMMEND, huge, 413) == expected

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(huge), 100_000):
            yield huge[start : start + 100_000]

    # Without a length in its head, too.
    try:
        answer = server.client.post(RECOMMEND, content=chunks(), headers=JSON_TYPE)
    except httpx.TransportError:
        return  # the server has answered and closed before all was sent
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"


@pytest.mark.parametrize(
    ("method", "path", "body", "key"),
    [
        ("POST", RECOMMEND, '{"user_id": 1, "user_id": 2}', "user_id"),
        ("POST", RECOMMEND, '{"k": 3, "user": {"age": 1, "\\u0061ge": 2}}', "user.age"),
        (
            "POST",
            RECOMMEND,
            '{"filter": {"column": "price", "equals": 1, "equals": ":"}}',
            "filter.equals",
        ),
        (
            "POST",
            f"{RECOMMEND}:batch",
            '{"requests": [{"k": 1}, {"k": 1, "k": 2}]}',
            "requests.1.k",
        ),
        ("POST", "/v1/rank", '{"items": ["i1"], "items": ["i2"]}', "items"),
        (
            "POST",
            "/v1/events",
            '{"events": [{"user_id": "d", "item_id": "i1", "context": {"c": 1, "c": 1}}]}',
            "events.0.context.c",
        ),
        (
            "PUT",
            "/v1/items",
            '{"items": [{"item_id": "d", "columns": {"title": "a: b", "price": 1, "price": 2}}]}',
            "items.0.columns.price",
        ),
        ("PATCH", "/v1/items", '{"items": [{"item_id": "d", "item_id": "e"}]}', "items.0.item_id"),
        ("PUT", "/v1/experiment", '{"variants": [], "variants": []}', "variants"),
        ("POST", "/v1/models/one:activate", '{"force": false, "force": true}', "force"),
        ("POST", "/studio/api/course/run", '{"step": "a", "step": "b"}', "step"),
    ],
)
def test_a_key_is_given_once(server: Server, method: str, path: str, body: str, key: str) -> None:
    found = server.refused(method, path, 422, content=body, headers=JSON_TYPE)
    assert found == ("invalid_request", f"body.{key}: is given more than once")
    assert server.get("/v1/users/d")["history"] == []
    assert server.client.get("/v1/items/d").status_code == 404


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"k": 10**9}, "body.k: Input should be less than or equal to 1000"),
        ({"k": 0}, "body.k: Input should be greater than or equal to 1"),
        ({"k": "5"}, "body.k: Input should be a valid integer"),
        ({"k": True}, "body.k: Input should be a valid integer"),
        ({"kk": 5}, "body.kk: Extra inputs are not permitted"),
        ({"diversity": "0.5"}, "body.diversity: Input should be a valid number"),
        ({"diversity": True}, "body.diversity: Input should be a valid number"),
        ({"diversity": 2}, "body.diversity: Input should be less than or equal to 1"),
        (
            {"history": ["i00003"] * 10_000},
            "body.history: List should have at most 1000 items after validation, not 10000",
        ),
        (
            {"user_id": "u1", "user": {"age": 3}},
            "body: give either 'user_id' or 'user', the features of an invented user",
        ),
        (
            {"filter": {"column": "price"}},
            "body.filter: a filter must have either a 'column' and one of 'equals', 'in', "
            "'range', or one of 'and', 'or', 'not'",
        ),
        (
            {"filter": {"column": "prise", "equals": 3}, "strict": True},
            "there is no item column 'prise', did you mean 'price'? There are: title, "
            "description, genres, price, release_year, cover, item_id",
        ),
        (
            {"filter": {"column": "price", "equals": "3"}},
            "column 'price': holds values of type Float64, and the filter compares them with "
            "another type (found '3').",
        ),
        (
            {"filter": {"column": "genres", "range": {"min": "a"}}},
            "column 'genres': has values of type List(String), which have no order.",
        ),
        (
            {"user": {"age": "old"}},
            "column 'age': is declared as a number, but this value is not a number (found 'old').",
        ),
        (
            {"user": {"age": [1, 2]}},
            "column 'age': holds values of type List(Int64), which the declared type cannot read.",
        ),
        (
            {"context": {"weather": "fine"}, "strict": True},
            "column 'weather': there is no context feature that reads it. There are: device.",
        ),
    ],
)
def test_a_wrong_value_is_named(server: Server, fields: Any, message: str) -> None:
    assert server.refused("POST", RECOMMEND, 422, json=fields) == ("invalid_request", message)


def test_deep_filters_are_refused_in_words(server: Server) -> None:
    condition: dict[str, Any] = {"column": "price", "equals": 3}
    for _ in range(8):
        condition = {"not": condition}
    code, message = server.refused("POST", RECOMMEND, 422, json={"filter": condition})
    assert (code, message) == (
        "invalid_request",
        "body.filter: a filter may be nested at most 8 levels deep",
    )
    for _ in range(400):
        condition = {"not": condition}
    assert server.refused("POST", RECOMMEND, 422, json={"filter": condition})[0] == code


@pytest.mark.parametrize("odd", ["\x00", "a\x00b", " ", "\n\x1c", "", "x" * 501])
def test_what_the_store_cannot_keep_is_no_id(server: Server, odd: str) -> None:
    for body in ({"user_id": odd}, {"exclude": [odd]}, {"history": [odd]}):
        assert server.refused("POST", RECOMMEND, 422, json=body)[0] == "invalid_request"
    event = {"user_id": "u1", "item_id": odd}
    assert server.refused("POST", "/v1/events", 422, json=event)[0] == "invalid_request"


@pytest.mark.parametrize(
    "odd", ["'; DROP TABLE events; --", "<script>alert(1)</script>", "../../etc/passwd", "💥", "%s"]
)
def test_odd_ids_are_ids_like_others(server: Server, odd: str) -> None:
    server.post("/v1/events", {"user_id": odd, "item_id": "i00003"})
    found = server.recommend(odd, k=120)
    assert found["user_id"] == odd
    assert "i00003" not in ids(found)
    path = httpx.URL(f"http://x/v1/users/{odd.replace('%', '%25').replace('/', '%2F')}").raw_path
    state = server.get(path.decode())
    assert state["user_id"] == odd
    server.put("/v1/items", {"items": [{"item_id": odd, "columns": {"title": odd, "price": 1}}]})
    named = {"column": "title", "equals": odd}
    assert ids(server.recommend(filter=named)) == [odd]
    assert server.get("/v1/items", q=odd)["items"][0]["item_id"] == odd


# --- paths and methods ---


def test_unknown_paths_and_methods_have_the_shape_of_all_errors(server: Server) -> None:
    for path in ("/nothing", "/v1", "/v1/../../etc/passwd", "/v1/models/x", "/redoc", "/docs/x"):
        assert server.refused("GET", path, 404)[0] == "not_found"
    assert server.refused("GET", RECOMMEND, 405) == (
        "method_not_allowed",
        "the path does not support this method",
    )
    assert server.refused("POST", "/v1/items", 405)[0] == "method_not_allowed"
    for method, path, allowed in (
        ("POST", "/v1/items", "GET, PATCH, PUT"),
        ("PUT", "/v1/items/i1", "DELETE, GET"),
        ("DELETE", "/v1/items/i1/similar", "GET"),
        ("OPTIONS", "/v1/experiment", "DELETE, GET, PUT"),
        ("POST", "/readyz", "GET, HEAD"),
    ):
        answer = server.client.request(method, path)
        if answer.status_code != 404:  # an item of that id might be there
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_query_parameters_are_checked(server: Server) -> None:
    for query in ("limit=0", "limit=x", "offset=-1", "limit=100000", "offset=99999999999999999999"):
        assert server.refused("GET", f"/v1/items?{query}", 422)[0] == "invalid_request"


def test_a_query_parameter_is_given_once(server: Server) -> None:
    for path in ("/v1/items?limit=1&limit=2", "/v1/users?limit=1&offset=0&limit=1"):
        assert server.refused("GET", path, 422) == (
            "invalid_request",
            "query.limit: is given more than once",
        )
    assert server.refused("GET", "/v1/items/i00003/similar?k=1&k=1", 422)[0] == "invalid_request"


def test_every_code_has_a_status_and_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "service.md").read_text(encoding="utf-8")
    for code, status in STATUS.items():
        assert f"| `{code}` | {status} |" in page


# --- the log ---


def test_the_log_is_json_and_holds_no_features_bodies_or_keys(server: Server) -> None:
    told = {"user": {"region": SECRET}, "context": {"device": SECRET}}
    server.client.post(RECOMMEND, json=told, headers={"Authorization": f"Bearer {SECRET}"})
    server.client.post(RECOMMEND, json={"user": {"age": SECRET}})
    server.client.post("/v1/events", json={"user_id": SECRET, "item_id": SECRET})
    server.client.get(f"/v1/users/{SECRET}", params={"q": SECRET})
    server.client.get(f"/{SECRET}", headers={"Cookie": SECRET})
    server.client.request(SECRET, "/v1/model")
    lines = server.log()
    assert SECRET not in server.log_text()
    assert SECRET not in server.client.get("/metrics").text
    entry = next(line for line in lines if line["event"] == "request" and line["status"] == 422)
    assert entry.keys() >= {"time", "level", "request_id", "method", "route", "status", "ms"}
    assert entry["code"] == "invalid_request"
    assert not [line for line in lines if "traceback" in line]


# --- keys ---


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> tuple[Server, dict[str, str]]:
    """A server with a key of each scope; keys may be made while it runs."""
    server = serve(only=("one",))
    store = open_store(server.events)
    keys = {
        scope: create_key(store, f"key-{scope}", [scope]) for scope in ("read", "write", "admin")
    }
    keys["revoked"] = create_key(store, "old", ["admin"])
    store.revoke_key("old")
    store.close()
    return server, keys


CALLS = [
    ("read", "GET", "/v1/model", None),
    ("read", "POST", RECOMMEND, {}),
    ("write", "POST", "/v1/events", {"user_id": "u", "item_id": "i"}),
    ("write", "DELETE", "/v1/users/u", None),
    ("admin", "POST", "/v1/models/one:activate", None),
]


@pytest.mark.parametrize(("scope", "method", "path", "body"), CALLS)
def test_a_key_may_do_what_its_scope_says(
    guarded: tuple[Server, dict[str, str]], scope: str, method: str, path: str, body: Any
) -> None:
    server, keys = guarded

    def status(key: str | None, scheme: str = "Bearer") -> int:
        headers = {"Authorization": f"{scheme} {key}"} if key else {}
        return server.client.request(method, path, json=body, headers=headers).status_code

    assert status(keys[scope]) == 200
    assert status(keys["admin"]) == 200
    for other in {"read", "write"} - {scope}:
        assert status(keys[other]) == 403
    for wrong in (None, "tt_" + "x" * 43, "nonsense", keys["revoked"], keys[scope][:-1], "ü"):
        if wrong != "ü":
            assert status(wrong) == 401
    assert status(keys[scope], scheme="Basic") == 401


def test_errors_of_keys_say_what_to_do(guarded: tuple[Server, dict[str, str]]) -> None:
    server, keys = guarded
    answer = server.client.get("/v1/model")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["message"] == "a valid API key is required"
    headers = {"Authorization": f"Bearer {keys['read']}"}
    assert server.refused("POST", "/v1/models:rollback", 403, headers=headers) == (
        "wrong_scope",
        "the API key does not have the scope 'admin'",
    )
    assert server.client.get("/healthz").status_code == 200
    for key in keys.values():
        assert key not in server.log_text()


def test_without_keys_only_loopback_is_served(trained: Path, tmp_path: Path) -> None:
    command = ["serve", trained / "one", "--host", "0.0.0.0"]
    command += ["--events", tmp_path / "e.sqlite", "--port", "0"]
    done = twotower(*command, environment={"COLUMNS": "500", "PATH": "/usr/bin"})
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "error: the service would be reachable from other machines without an API key (found "
        f"'0.0.0.0'). Fix: create a key with `twotower keys create {tmp_path / 'e.sqlite'} --name "
        "NAME --scope read`, set TWOTOWER_ADMIN_KEY, or serve on 127.0.0.1."
    )
