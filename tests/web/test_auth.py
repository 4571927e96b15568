"""KeyAuth: what a worker caches never outlives a revocation, whichever process made it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from starlette.requests import Request

from tests.processes import twotower
from tests.web.conftest import Serve
from tests.web.server import Server
from twotower.errors import StoreError
from twotower.serving.store.keys import create_key, revoke_key
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import EventStore, Scope
from twotower.web.access import auth
from twotower.web.access.auth import Access, KeyAuth
from twotower.web.errors import ApiError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[EventStore]:
    with closing(open_store(path)) as opened:
        yield opened


def request(key: str | None = None) -> Request:
    headers = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
    return Request({"type": "http", "headers": headers, "client": ("192.0.2.7", 50_000)})


def run(*arguments: str | Path) -> str:
    """What a `twotower keys` command prints; a process of its own, as an operator's is."""
    done = twotower("keys", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def authorize(keys: KeyAuth, asked: Request, scope: Scope) -> str:
    return asyncio.run(keys.authorize(asked, scope))


def access(keys: KeyAuth, asked: Request) -> Access:
    return asyncio.run(keys.access(asked))


def code(keys: KeyAuth, key: str | None = None) -> str:
    with pytest.raises(ApiError) as caught:
        authorize(keys, request(key), "read")
    return caught.value.code


def test_a_key_revoked_by_another_process_is_rejected_by_the_next_request(
    store: EventStore, path: Path
) -> None:
    key, other = create_key(store, "shop", ["read"]), create_key(store, "other", ["read"])
    workers = [KeyAuth(store), KeyAuth(store)]
    for keys in workers:
        assert authorize(keys, request(key), "read") == "key shop"
        assert authorize(keys, request(other), "read") == "key other"
    run("revoke", path, "--name", "shop")
    for keys in workers:
        assert code(keys, key) == "no_key"
        assert access(keys, request(key)) == Access(needed=True, scopes=())
        assert authorize(keys, request(other), "read") == "key other"


def test_the_first_key_closes_an_open_service_at_once(store: EventStore, path: Path) -> None:
    keys = KeyAuth(store)
    assert authorize(keys, request(), "admin") == "address 192.0.2.7"
    assert access(keys, request()) == Access(needed=False, scopes=("read", "write", "admin"))
    key = run("create", path, "--name", "shop", "--scope", "read")
    assert code(keys) == "no_key"
    assert authorize(keys, request(key), "read") == "key shop"
    assert access(keys, request(key)) == Access(needed=True, scopes=("read",))


def test_a_key_that_is_created_after_it_was_tried_is_accepted(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache holds unknown keys, too."""
    create_key(store, "first", ["read"])
    secret = "s" * 43
    keys = KeyAuth(store)
    assert code(keys, f"tt_{secret}") == "no_key"
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: secret)
    create_key(store, "second", ["read"])
    assert authorize(keys, request(f"tt_{secret}"), "read") == "key second"


def test_when_all_keys_are_revoked_the_service_stays_closed(store: EventStore) -> None:
    key = create_key(store, "shop", ["read"])
    keys = KeyAuth(store)
    revoke_key(store, "shop")
    assert code(keys) == code(keys, key) == "no_key"


def test_a_key_is_looked_up_once(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    key = create_key(store, "shop", ["read"])
    find = Mock(wraps=store.find_key)
    monkeypatch.setattr(store, "find_key", find)
    keys = KeyAuth(store)
    for _ in range(3):
        assert authorize(keys, request(key), "read") == "key shop"
    assert find.call_count == 1


def test_the_cache_of_keys_is_bounded(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_CALLERS", 2)
    key = create_key(store, "shop", ["read"])
    keys = KeyAuth(store)
    for number in range(5):
        assert code(keys, f"tt_{number:043}") == "no_key"
        assert len(keys._records) <= 2
    assert authorize(keys, request(key), "read") == "key shop"


def test_text_that_is_longer_than_a_key_is_not_kept(store: EventStore) -> None:
    create_key(store, "shop", ["read"])
    keys = KeyAuth(store)
    for number in range(5):
        assert code(keys, f"{number}" + "x" * 50_000) == "no_key"
    assert sum(map(len, keys._records)) < 1000


@pytest.mark.parametrize("method", ["counters", "keys"])
def test_a_store_that_cannot_be_read_does_not_open_the_service(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail() -> Any:
        raise StoreError("the disk is gone.")

    key = create_key(store, "shop", ["read"])
    keys = KeyAuth(store)
    with monkeypatch.context() as patched:
        patched.setattr(store, method, fail)
        for _ in range(2):
            with pytest.raises(StoreError, match=r"^the disk is gone\.$"):
                authorize(keys, request(), "read")
    assert code(keys) == "no_key"
    assert authorize(keys, request(key), "read") == "key shop"


@pytest.mark.slow
def test_a_key_revoked_on_the_command_line_is_rejected_by_all_workers_at_once(
    serve: Serve,
) -> None:
    server = serve("--workers", "2", only=("one",))
    key = run("create", server.events, "--name", "shop", "--scope", "read")
    other = run("create", server.events, "--name", "other", "--scope", "read")
    assert statuses(server, key) == {200}
    assert statuses(server, None) == {401}
    run("revoke", server.events, "--name", "shop")
    assert statuses(server, key) == {401}
    assert statuses(server, other) == {200}
    processes = {line["process"] for line in server.log() if line["event"] == "request"}
    assert len(processes) == 2


def statuses(server: Server, key: str | None) -> set[int]:
    """Of 24 requests, each on a connection of its own, so that both workers get some."""

    def ask(_: int) -> int:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=server.client.base_url, timeout=30, verify=False) as client:
            return client.get("/v1/model", headers=headers).status_code

    with ThreadPoolExecutor(8) as pool:
        return set(pool.map(ask, range(24)))
