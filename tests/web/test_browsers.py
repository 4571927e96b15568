"""Pages of other origins, hosts, media types, proxies, prefixes and supplied keys; real servers."""

from __future__ import annotations

import pytest

from tests.web.conftest import Serve
from tests.web.server import Server
from twotower.web.access.browsers import is_loopback

KEY = "tt_" + "k" * 43
REQUEST = {"user_id": "u1", "k": 2}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("LOCALHOST", True),
        ("127.evil.example", False),
        ("localhost.evil.example", False),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
    ],
)
def test_only_loopback_addresses_and_localhost_are_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_a_page_of_another_origin_changes_nothing(server: Server, origin: str) -> None:
    for method, path in (
        ("POST", "/v1/models:rollback"),
        ("POST", "/v1/models/two:activate"),
        ("DELETE", "/v1/users/u1"),
    ):
        code, _ = server.refused(method, path, 403, headers={"Origin": origin})
        assert code == "wrong_origin"
    own = {"Origin": f"http://127.0.0.1:{server.port}"}
    server.ask("POST", "/v1/recommendations", 200, json=REQUEST, headers=own)


def test_a_rebound_host_name_reads_and_deletes_nothing(server: Server) -> None:
    for headers in ({"Host": "evil.example"}, {"Host": "127.evil.example:8000"}):
        assert server.refused("GET", "/v1/users", 403, headers=headers)[0] == "wrong_host"
        assert server.refused("DELETE", "/v1/users/u1", 403, headers=headers)[0] == "wrong_host"
    server.ask("GET", "/v1/users", 200, headers={"Host": f"localhost:{server.port}"})


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/events", "/v1/models/two:activate"])
def test_a_body_has_to_be_declared_as_json(server: Server, path: str, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    code, _ = server.refused("POST", path, 415, content=b"{}", headers=headers)
    assert code == "wrong_media_type"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_answer_head(server: Server, path: str) -> None:
    answer = server.client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_options_of_a_service_behind_a_proxy(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: an option that is set by an environment variable."""
    monkeypatch.setenv("TWOTOWER_SERVE_ROOT_PATH", "/recs")
    server = serve(
        *("--allowed-host", "shop.example", "--cors-origin", "https://app.example"), only=("one",)
    )
    assert server.get("/openapi.json")["servers"] == [{"url": "/recs"}]
    server.get("/recs/v1/model")
    server.ask("GET", "/v1/model", 200, headers={"Host": "shop.example"})
    asked = {"Origin": "https://app.example"}
    answer = server.client.post("/v1/recommendations", json=REQUEST, headers=asked)
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    page = server.client.get("/").text
    assert 'src="/' not in page
    assert 'href="/' not in page


def test_a_supplied_key_opens_a_service_on_all_addresses(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWOTOWER_ADMIN_KEY", KEY)
    server = serve("--host", "0.0.0.0", only=("one",))
    assert server.refused("GET", "/v1/model", 401)[0] == "no_key"
    server.ask("GET", "/v1/model", 200, headers={"Authorization": f"Bearer {KEY}"})
    server.stop()
    server.restart()  # the key is known now
    server.ask("GET", "/v1/model", 200, headers={"Authorization": f"Bearer {KEY}"})
