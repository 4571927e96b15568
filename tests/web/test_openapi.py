"""The OpenAPI document: every route and error is in it, and requests made from it are answered as
it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from pydantic import ValidationError
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.web.conftest import Serve
from tests.web.server import Server
from twotower.web import wire
from twotower.web.app import create_app
from twotower.web.errors import STATUS
from twotower.web.settings import ServeSettings

DOCUMENT: dict[str, Any] = create_app(
    ServeSettings(source=Path("bundle"), events="events.sqlite")
).openapi()
PAGE = (Path(__file__).parents[2] / "docs" / "service.md").read_text(encoding="utf-8")
OPERATIONS = [
    (method, path)
    for path, operations in DOCUMENT["paths"].items()
    for method in operations
    if path.startswith(("/v1", "/healthz", "/readyz", "/metrics"))
]
EXAMPLES = 5
"""Generated requests of each operation, always the same ones."""

schema = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_is_described(method: str, path: str) -> None:
    operation = DOCUMENT["paths"][path][method]
    assert operation["summary"]
    assert operation["description"]
    assert f"`{method.upper()} {path}`" in PAGE
    if not path.startswith("/v1"):
        return
    assert operation["x-scope"] in ("read", "write", "admin")
    assert operation["security"] == [{"key": [operation["x-scope"]]}]
    for status, response in operation["responses"].items():
        content = response["content"]["application/json"]["schema"]
        if int(status) >= 400:
            assert content == {"$ref": "#/components/schemas/ErrorAnswer"}
            assert int(status) in STATUS.values()
    if "requestBody" in operation:
        assert {"400", "413", "422"} <= operation["responses"].keys()


def test_operation_ids_are_verbs_that_name_a_method() -> None:
    ids = [DOCUMENT["paths"][path][method]["operationId"] for method, path in OPERATIONS]
    verbs = {
        *("check", "get", "list", "find", "put", "patch", "remove", "post", "forget", "rank"),
        *("recommend", "activate", "roll", "start", "end"),
    }
    assert len(set(ids)) == len(ids)
    assert all(name.isidentifier() and name.islower() for name in ids)
    assert {name.partition("_")[0] for name in ids} == verbs


def test_each_answer_of_any_path_is_described() -> None:
    for method, path in OPERATIONS:
        described = DOCUMENT["paths"][path][method]["responses"].keys()
        assert {"200", "408", "413", "431", "500"} <= described
        if path.startswith("/v1"):
            assert {"401", "403", "404", "415", "422", "429", "503", "504"} <= described


@pytest.mark.parametrize(
    ("name", "body", "is_valid"),
    [
        ("Filter", {"column": "a", "equals": None}, True),
        ("Filter", {"column": "a"}, False),
        ("Filter", {"column": "a", "in": None}, False),
        ("Filter", {"column": None, "and": [{"column": "a", "equals": 1}]}, False),
        ("Filter", {"and": [{"column": "a", "equals": 1}]}, True),
        ("Filter", {"column": "a", "equals": 1, "range": {"min": 1}}, False),
        ("Filter", {"or": [], "and": []}, False),
        ("Range", {}, False),
        ("Range", {"min": None, "max": None}, False),
        ("Range", {"min": None, "max": 3}, True),
        ("Range", {"min": "a", "max": 3}, False),
        ("Range", {"min": 1.5, "max": 3}, True),
        ("RecommendationRequest", {"user_id": "u", "user": {}}, False),
        ("RecommendationRequest", {"user_id": "u", "user": None}, True),
        ("RankRequest", {"items": [1], "user_id": 3, "user": {"a": 1}}, False),
        ("PutItem", {"item_id": 2**63}, False),
        ("PutItem", {"item_id": 2**63 - 1}, True),
        ("PutItem", {"item_id": -(2**63)}, True),
        ("Event", {"user_id": 1, "item_id": 1, "timestamp": "2024-05-01T10:00:00Z"}, True),
        ("Event", {"user_id": 1, "item_id": 1, "timestamp": 10**12}, False),
        ("Variant", {"name": "a", "version": "a", "share": 0}, False),
    ],
)
def test_the_document_accepts_what_the_service_accepts(
    name: str, body: dict[str, Any], is_valid: bool
) -> None:
    described = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    assert jsonschema_rs.is_valid(described, body) is is_valid
    model: type[wire.Wire] = getattr(wire, name)
    if is_valid:
        model.model_validate(body)
    else:
        with pytest.raises(ValidationError):
            model.model_validate(body)


def test_a_key_is_demanded_by_the_document_if_it_is_by_the_service(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "tt_" + "k" * 43
    monkeypatch.setenv("TWOTOWER_ADMIN_KEY", key)
    closed = serve(only=("one",)).get("/openapi.json")
    monkeypatch.delenv("TWOTOWER_ADMIN_KEY")
    opened = serve(only=("one",)).get("/openapi.json")
    assert closed == DOCUMENT
    for method, path in OPERATIONS:
        assert "security" not in opened["paths"][path][method]
    assert opened["components"]["securitySchemes"] == {}


@pytest.mark.parametrize("name", wire.__all__)
def test_examples_of_bodies_are_right(name: str) -> None:
    model = getattr(wire, name)
    if not (isinstance(model, type) and issubclass(model, wire.Wire)):
        return
    for example in model.model_json_schema().get("examples", []):
        model.model_validate(example)


def test_every_body_of_a_request_has_an_example() -> None:
    for method, path in OPERATIONS:
        body = DOCUMENT["paths"][path][method].get("requestBody")
        for content in (body or {}).get("content", {}).values():
            text = str(content["schema"])
            names = [name for name in DOCUMENT["components"]["schemas"] if f"/{name}'" in text]
            assert names
            assert all("examples" in DOCUMENT["components"]["schemas"][n] for n in names)


@schema.exclude(path="/metrics").parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_requests_made_from_the_document_are_answered_as_it_says(
    server: Server, case: schemathesis.Case[Any]
) -> None:
    case.call_and_validate(
        base_url=str(server.client.base_url),
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )
