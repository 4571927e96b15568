"""The OpenAPI document: every route and error is in it, and requests made from it are answered as
it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

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
