"""The generated Python client against a real service: every operation, with types as documented."""

from __future__ import annotations

import importlib.util
import inspect
import re
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import httpx
import pytest
from twotower_client import Client, ServiceError
from twotower_client import api as client_api

from tests.web.conftest import Serve
from tests.web.server import Server
from twotower.serving.store.keys import create_key
from twotower.serving.store.opening import open_store
from twotower.web import wire

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "clients" / "python" / "build.py"
METHODS = {
    name
    for name, member in inspect.getmembers(Client, inspect.isfunction)
    if member.__module__ == client_api.__name__
}


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_client", BUILD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> tuple[Server, str]:
    """A service that demands a key, and an admin's key."""
    server = serve("--gate-drop", "1")
    with closing(open_store(server.events)) as store:
        return server, create_key(store, "admin", ["admin"])


def test_the_client_is_that_of_the_document(build: ModuleType) -> None:
    assert build.FILE.read_text(encoding="utf-8") == build.render(build.document()), (
        "run `python clients/python/build.py`"
    )


def test_every_operation_answers_as_its_type_says(guarded: tuple[Server, str]) -> None:
    server, key = guarded
    called: dict[str, Any] = {}
    with Client(str(server.client.base_url), key=key) as client:
        called["check_health"] = client.check_health()
        called["check_readiness"] = client.check_readiness()
        called["get_metrics"] = client.get_metrics()
        cheap: client_api.Filter = {"column": "price", "range": {"max": 20}}
        answer = client.recommend(user_id="u00003", k=3, filter=cheap, context={"device": "phone"})
        called["recommend"] = answer
        first = answer["items"][0]["item_id"]
        assert answer["items"][0]["columns"]["price"] <= 20
        called["recommend_batch"] = client.recommend_batch(requests=[{"k": 2}, {"user_id": "new"}])
        called["rank_items"] = client.rank_items(user_id="u00003", items=[first, "no such item"])
        called["find_similar_items"] = client.find_similar_items(first, k=2)
        called["post_events"] = client.post_events(
            {"user_id": "u00003", "item_id": first, "request_id": answer["request_id"]}
        )
        assert client.post_events({"events": [{"user_id": "new", "item_id": first}]})["accepted"]
        called["list_items"] = client.list_items(q="the", limit=2)
        put = client.put_items(items=[{"item_id": "a/b c", "columns": {"price": 3.5}}])
        called["put_items"] = put
        called["patch_items"] = client.patch_items(items=[{"item_id": "a/b c", "hidden": True}])
        called["get_item"] = client.get_item("a/b c")
        assert called["get_item"]["hidden"]
        called["remove_item"] = client.remove_item("a/b c")
        called["list_users"] = client.list_users(limit=2)
        called["get_user"] = client.get_user("new")
        called["forget_user"] = client.forget_user("new")
        called["get_model"] = client.get_model()
        called["activate_model"] = client.activate_model("two")
        called["roll_back_model"] = client.roll_back_model()
        called["list_models"] = client.list_models()
        called["start_experiment"] = client.start_experiment(
            name="x", variants=[{"name": "only", "version": "two", "share": 1}]
        )
        called["get_experiment"] = client.get_experiment()
        called["end_experiment"] = client.end_experiment()
    assert called.keys() == METHODS
    for name, value in called.items():
        kind = get_type_hints(getattr(Client, name))["return"]
        if kind is str:
            assert "twotower_requests_total" in value
            continue
        getattr(wire, kind.__name__).model_validate(value)
        assert value.keys() <= kind.__annotations__.keys()


def test_the_example_of_the_guide(guarded: tuple[Server, str]) -> None:
    server, key = guarded
    text = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    address = f'"{server.client.base_url!s}", key="{key}"'
    assert example.count('"http://127.0.0.1:8000"') == 1
    names: dict[str, Any] = {}
    exec(example.replace('"http://127.0.0.1:8000"', address), names)
    assert len(names["answer"]["items"]) == 5


def test_errors_say_what_is_wrong(guarded: tuple[Server, str]) -> None:
    server, key = guarded
    base = str(server.client.base_url)
    with Client(base) as nobody, pytest.raises(ServiceError) as caught:
        nobody.recommend(user_id="u00003")
    assert (caught.value.status, caught.value.code) == (401, "no_key")
    with Client(base, key=key) as client:
        with pytest.raises(ServiceError) as caught:
            client.get_item("no such item")
        assert (caught.value.status, caught.value.code) == (404, "not_found")
        assert caught.value.request_id
        assert caught.value.fix
        with pytest.raises(ServiceError) as caught:
            client.recommend(user={"agee": 3}, strict=True)
        assert "did you mean 'age'?" in str(caught.value)
    with (
        Client("http://127.0.0.1:1", timeout=1, connect_retries=0) as lost,
        pytest.raises(httpx.TransportError),
    ):
        lost.check_health()
