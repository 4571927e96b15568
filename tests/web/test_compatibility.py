"""Versions differ in what they read, and the same clients are answered by all of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from tests.web.bundles import train_shop, write_shop
from tests.web.server import Server, ids
from twotower.web import wire

DEVICE = '[features.context.device]\ntype = "category"\n'
EPOCHS = "training.epochs=2"
ASK = {
    "context": {"device": "phone"},
    "filter": {"column": "price", "range": {"max": 15}},
}


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`wide`, and `narrow`: without the device, and without the price of items."""
    folder = tmp_path_factory.mktemp("versions")
    config = write_shop(folder)
    train_shop(config, folder / "bundles" / "wide", EPOCHS)
    items = folder / "items.parquet"
    pl.read_parquet(items).drop("price").write_parquet(items)
    text = config.read_text(encoding="utf-8")
    start = text.index("[features.item.price]")
    end = text.index("[", start + 1)
    narrow = (text[:start] + text[end:]).replace(DEVICE, "")
    assert len(narrow) < len(text) - len(DEVICE)
    config.write_text(narrow, encoding="utf-8")
    train_shop(config, folder / "bundles" / "narrow", EPOCHS)
    for run in (folder / "bundles").glob("*.run"):
        shutil.rmtree(run)
    return folder / "bundles"


@pytest.fixture
def server(versions: Path, tmp_path: Path) -> Iterator[Server]:
    shutil.copytree(versions, tmp_path / "bundles")
    (tmp_path / "bundles" / "current").write_text("wide\n", encoding="utf-8")
    started = Server(tmp_path / "bundles", tmp_path / "events.sqlite")
    yield started
    started.stop()


def activate(server: Server, version: str, **body: Any) -> Any:
    return server.post(f"/v1/models/{version}:activate", body)


def metric(server: Server, name: str) -> float:
    lines = httpx.get(f"{server.client.base_url}/metrics").text.splitlines()
    [line] = [line for line in lines if line.startswith(f"{name} ")]
    return float(line.rpartition(" ")[2])


def test_the_same_clients_are_answered_by_both_arms_of_an_experiment(server: Server) -> None:
    variants = [
        {"name": "control", "version": "wide", "share": 0.5},
        {"name": "new", "version": "narrow", "share": 0.5},
    ]
    server.put("/v1/experiment", {"name": "narrower", "variants": variants})
    answers = [server.recommend(f"u{n:05}", **ASK) for n in range(40)]
    assert {answer["variant"] for answer in answers} == {"control", "new"}
    for answer in answers:
        wire.Recommendations.model_validate(answer)
        fields = [one["field"] for one in answer["warnings"]]
        narrow = answer["variant"] == "new"
        assert fields == (["context.device", "filter.price"] if narrow else [])
        assert len(ids(answer)) == 10
    batch = server.post("/v1/recommendations:batch", {"requests": [ASK, {**ASK, "variant": "new"}]})
    assert [len(answer["warnings"]) for answer in batch["answers"]] == [0, 2]
    ranked = server.post(
        "/v1/rank", {"items": ["i00003"], "variant": "new", "context": ASK["context"]}
    )
    wire.RankAnswer.model_validate(ranked)
    assert [one["field"] for one in ranked["warnings"]] == ["context.device"]
    counted = sum(answer["variant"] == "new" for answer in answers) + 1
    assert metric(server, 'twotower_ignored_columns_total{part="context"}') == counted + 1
    assert metric(server, 'twotower_ignored_columns_total{part="filter"}') == counted


def test_a_strict_request_is_refused_and_a_wrong_value_always_is(server: Server) -> None:
    activate(server, "narrow", force=True)
    path = "/v1/recommendations"
    code, message = server.refused(
        "POST", path, 422, json={"context": {"device": "phone"}, "strict": True}
    )
    assert code == "invalid_request"
    assert message.startswith("column 'device': there is no context feature that reads it")
    _, message = server.refused("POST", path, 422, json={"filter": ASK["filter"], "strict": True})
    assert message.startswith("there is no item column 'price'")
    wrong = {"user": {"age": "old"}, "context": {"device": "phone"}}
    _, message = server.refused("POST", path, 422, json=wrong)
    assert message.startswith("column 'age': ")
    wrong_year = {"filter": {"column": "release_year", "range": {"min": "new"}}}
    assert server.refused("POST", path, 422, json=wrong_year)[0] == "invalid_request"


def test_the_gate_refuses_what_cannot_be_compared(server: Server) -> None:
    code, message = server.refused("POST", "/v1/models/narrow:activate", 409)
    assert code == "gate_refused"
    assert message == (
        "version 'narrow' cannot be compared with the active one: version 'wide' cannot be "
        "measured: column 'device': the held-out rows lack a column that it reads."
    )
    assert server.get("/v1/model")["version"] == "wide"
    done = activate(server, "narrow", force=True)
    wire.ActivateAnswer.model_validate(done)
    assert done["active"] == "narrow"
    assert (done["gate"]["active"], done["gate"]["passed"]) == (None, False)
    assert "column 'device'" in done["gate"]["reason"]
    logged = {line["event"]: line for line in server.log()}
    for event in ("activation_refused", "activation_forced"):
        assert (logged[event]["version"], logged[event]["active"]) == ("narrow", None)
    assert metric(server, 'twotower_swaps_total{outcome="forced"}') == 1
    assert metric(server, 'twotower_swaps_total{outcome="refused"}') == 1


def test_rollbacks_go_back_and_not_forward_again(server: Server) -> None:
    for version in ("narrow", "wide", "narrow"):
        activate(server, version, force=True)
    assert server.get("/v1/models")["previous"] == "wide"
    found = [server.post("/v1/models:rollback") for _ in range(3)]
    assert [(one["active"], one["previous"]) for one in found] == [
        ("wide", "narrow"),
        ("narrow", "wide"),
        ("wide", None),
    ]
    server.kill()
    server.restart()
    code, message = server.refused("POST", "/v1/models:rollback", 409)
    assert (code, message) == (
        "conflict",
        "there is no version to roll back to.",
    )


def test_items_of_one_version_are_served_by_the_other(server: Server) -> None:
    """What the active version does not know is kept for others; what another one cannot read is
    reported when it is activated."""
    activate(server, "narrow", force=True)
    items = [
        {"item_id": "new", "columns": {"title": "New", "genres": ["crime"], "price": "gratis"}},
        {"item_id": "more", "columns": {"title": "More", "genres": ["crime"], "shelf": 7}},
    ]
    put = server.put("/v1/items", {"items": items})
    wire.PutItemsAnswer.model_validate(put)
    assert [(one["code"], one["field"]) for one in put["warnings"]] == [
        ("unknown_column", "items.price"),
        ("unknown_column", "items.shelf"),
    ]
    code, message = server.refused("PUT", "/v1/items", 422, json={"items": items, "strict": True})
    assert (code, message.partition(",")[0]) == ("invalid_request", "row 1")
    shelf = {"column": "shelf", "equals": 7}
    assert ids(server.recommend("u00003", filter=shelf)) == ["more"]
    assert server.recommend("u00003", filter=shelf)["items"][0]["columns"]["shelf"] == 7
    done = activate(server, "wide", force=True)
    assert done["unread_items"] == 1
    [warning] = done["warnings"]
    assert (warning["code"], warning["field"]) == ("unreadable_value", "items.new.price")
    listed = {one["version"]: one for one in server.get("/v1/models")["models"]}
    assert [listed[name]["unread_items"] for name in ("wide", "narrow")] == [1, 0]
    assert metric(server, "twotower_unread_items") == 1
    new = {"column": "title", "equals": "New"}
    for user_id in ("u00003", "nobody"):
        assert ids(server.recommend(user_id, filter=new)) == ["new"]
    assert ids(server.recommend("u00003", filter=shelf)) == ["more"]
    repaired = server.ask(
        "PATCH", "/v1/items", 200, json={"items": [{"item_id": "new", "columns": {"price": 3}}]}
    )
    wire.PatchItemsAnswer.model_validate(repaired)
    assert (repaired["changed"], repaired["warnings"]) == (1, [])
    assert metric(server, "twotower_unread_items") == 0


def test_an_item_is_changed_in_part_hidden_and_shown_again(server: Server) -> None:
    before = server.get("/v1/items/i00011")

    def patch(**fields: Any) -> Any:
        return server.ask(
            "PATCH", "/v1/items", 200, json={"items": [{"item_id": "i00011", **fields}]}
        )

    assert patch(columns={"price": 99, "in_stock": True})["changed"] == 1
    after = server.get("/v1/items/i00011")
    assert after["columns"] == {**before["columns"], "price": 99, "in_stock": True}
    assert (after["added"], after["hidden"], after["has_vector"]) == (False, False, True)
    dear = {
        "and": [{"column": "price", "range": {"min": 98}}, {"column": "in_stock", "equals": True}]
    }
    asked: dict[str, Any] = {"filter": dear, "mask_seen": False}
    assert ids(server.recommend("u00003", **asked)) == ["i00011"]
    patch(hidden=True)
    assert ids(server.recommend("u00003", **asked)) == ids(server.recommend(**asked)) == []
    assert server.get("/v1/items/i00011")["hidden"]
    assert ids(server.get("/v1/items/i00011/similar"))
    server.kill()
    server.restart()
    assert ids(server.recommend("u00003", **asked)) == []
    patch(hidden=False)
    assert ids(server.recommend("u00003", **asked)) == ["i00011"]
    code, _ = server.refused(
        "PATCH",
        "/v1/items",
        404,
        json={"items": [{"item_id": "i00011", "hidden": True}, {"item_id": "x"}]},
    )
    assert code == "not_found"
    assert not server.get("/v1/items/i00011")["hidden"]
    wrong = {"items": [{"item_id": "i00011", "columns": {"price": "dear"}}]}
    assert server.refused("PATCH", "/v1/items", 422, json=wrong)[1].startswith(
        "row 1, column 'price': "
    )
