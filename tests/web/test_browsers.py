"""Pages of other origins, hosts, media types, proxies, prefixes and supplied keys; real servers."""

from __future__ import annotations

import gzip
import os
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.processes import twotower
from tests.web.conftest import Serve
from tests.web.server import Server
from twotower.serving.store.keys import create_key
from twotower.serving.store.opening import open_store
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


def test_a_compressed_body_is_refused_in_words(server: Server) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = gzip.compress(b"{}")
    found = server.refused("POST", "/v1/recommendations", 415, content=body, headers=headers)
    assert found == ("wrong_media_type", "the body is compressed")


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


# --- CORS ---

SHOP, OTHER = "https://shop.example", "https://evil.example"


@pytest.fixture(scope="module")
def shared(serve: Serve) -> Server:
    """A server that pages of a shop may ask, and that has a key."""
    server = serve("--cors-origin", SHOP, only=("one",))
    with closing(open_store(server.events)) as store:
        server.key = create_key(store, "shop", ["read", "write"])
    return server


def preflight(server: Server, origin: str, method: str, headers: str) -> httpx.Response:
    """What a browser asks before a page of an origin may send a request: it sends no key."""
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    return server.client.options("/v1/recommendations", headers=asked)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_page_of_a_named_origin_may_ask(shared: Server, method: str) -> None:
    wanted = "authorization, content-type, x-request-id, traceparent"
    answer = preflight(shared, SHOP, method, wanted)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert method in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in wanted.split(", "))
    # With the key in a header, a browser has no credentials of its own to send.
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [
        (OTHER, "POST", "content-type"),
        ("null", "POST", "content-type"),
        ("http://shop.example", "POST", "content-type"),
        (f"{SHOP}.evil.example", "POST", "content-type"),
        (SHOP, "TRACE", "content-type"),
        (SHOP, "POST", "x-of-its-own"),
    ],
)
def test_what_was_not_allowed_is_refused(
    shared: Server, origin: str, method: str, headers: str
) -> None:
    answer = preflight(shared, origin, method, headers)
    assert answer.status_code == 400
    if origin != SHOP:
        assert "access-control-allow-origin" not in answer.headers


def test_answers_and_errors_can_be_read_by_pages_of_named_origins_alone(shared: Server) -> None:
    key = {"Authorization": f"Bearer {shared.key}"}
    for headers, status in (({}, 401), (key, 200)):
        asked = {**headers, "Origin": SHOP}
        answer = shared.client.post("/v1/recommendations", json=REQUEST, headers=asked)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == SHOP
        exposed = answer.headers["access-control-expose-headers"].lower()
        assert all(name in exposed for name in ("x-request-id", "retry-after", "traceparent"))
    foreign = {**key, "Origin": OTHER}
    answer = shared.client.post("/v1/recommendations", json=REQUEST, headers=foreign)
    assert "access-control-allow-origin" not in answer.headers


def test_without_named_origins_no_page_of_another_may_ask(server: Server) -> None:
    answer = preflight(server, SHOP, "POST", "content-type")
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


# --- keys from a file ---


def test_a_key_file_opens_a_service_on_all_addresses(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n", encoding="utf-8")
    server = serve("--host", "0.0.0.0", "--key-file", str(file), only=("one",))
    assert server.refused("GET", "/v1/model", 401)[0] == "no_key"
    admin = {"Authorization": f"Bearer {KEY}"}
    server.ask("POST", "/v1/models/one:activate", 200, headers=admin)
    assert KEY not in server.log_text()
    server.stop()
    assert KEY.encode() not in b"".join(
        path.read_bytes() for path in server.events.parent.glob("events.sqlite*")
    )


FORM = (
    "error: the supplied admin key is not 'tt_' and 43 letters, digits, '-' or '_'. Fix: make one "
    "from 32 random bytes in URL-safe base64: echo tt_$(openssl rand -base64 32 | tr '+/' '-_' | "
    "tr -d =)."
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "{file}: the key cannot be read: [Errno 2] No such file or directory: '{file}'. "),
        (b"\xff\xfe", "{file}: the key cannot be read: 'utf-8' codec can't decode byte 0xff "),
        (b"", FORM),
        (b"\n", FORM),
        (b"tt_short", FORM),
        (KEY.encode()[:-1], FORM),
        (KEY.encode() + b"\n" + KEY.encode(), FORM),
    ],
)
def test_a_key_file_without_a_key_ends_the_command(
    trained: Path, tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    command = ["serve", trained / "one", "--port", "0", "--events", tmp_path / "events.sqlite"]
    environment = {**os.environ, "COLUMNS": "500"}
    ended = twotower(*command, "--key-file", file, environment=environment)
    assert ended.returncode == 1
    assert message.replace("{file}", str(file)) in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("proxy", ["proxy.example", "10.0.0.1/8", "10.0.0"])
def test_a_proxy_that_is_no_address_is_refused(tmp_path: Path, proxy: str) -> None:
    command = ["serve", tmp_path, "--proxy", proxy, "--events", tmp_path / "events.sqlite"]
    ended = twotower(*command, environment={**os.environ, "TERMINAL_WIDTH": "200"})
    assert ended.returncode == 2
    assert "name an address or a network" in ended.stderr
