"""The limit of requests per second: one for all workers, for keys and for those without one."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request

from tests.web.conftest import Serve
from tests.web.server import Server
from twotower.serving.store.keys import create_key
from twotower.serving.store.opening import open_store
from twotower.web.access.rate import RateLimiter, address_of
from twotower.web.errors import ApiError

RATE = 20


def hammer(server: Server, seconds: float, headers: dict[str, str]) -> Counter[int]:
    """Status -> number of answers to requests that 8 clients send as fast as they can, each on a
    connection of its own, so that all workers get some."""
    end = time.monotonic() + seconds

    def ask(_: int) -> Counter[int]:
        found: Counter[int] = Counter()
        while time.monotonic() < end:
            with httpx.Client(base_url=server.client.base_url, verify=False) as client:
                for _ in range(5):
                    found[client.get("/v1/model", headers=headers).status_code] += 1
        return found

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(ask, range(8)), Counter[int]())


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_caller_that_asks_too_often_is_told_when_to_come_again() -> None:
    now = [0.0]
    limit = RateLimiter(2.0, clock=lambda: now[0])
    for _ in range(2):
        limit.hit("a")
    with pytest.raises(ApiError, match="more than 2 requests per second") as caught:
        limit.hit("a")
    assert caught.value.code == "rate_limited"
    assert caught.value.headers == {"Retry-After": "1"}
    limit.hit("b")
    now[0] = 0.5
    limit.hit("a")
    with pytest.raises(ApiError):
        limit.hit("a")
    now[0] = 100.0
    for _ in range(2):
        limit.hit("a")


def test_a_rate_below_one_lets_one_request_pass_and_names_the_wait() -> None:
    now = [0.0]
    limit = RateLimiter(0.1, clock=lambda: now[0])
    limit.hit("a")
    now[0] = 3.5
    with pytest.raises(ApiError, match=r"more than 0\.1 requests per second") as caught:
        limit.hit("a")
    assert caught.value.headers == {"Retry-After": "7"}
    now[0] = 10.0
    limit.hit("a")


def test_processes_share_the_count_and_forget_callers(tmp_path: Path) -> None:
    now = [0.0]
    file = tmp_path / "rate.sqlite"
    one, two = (RateLimiter(2.0, file, clock=lambda: now[0]) for _ in range(2))
    one.hit("a")
    two.hit("a")
    for limit in (one, two):
        with pytest.raises(ApiError):
            limit.hit("a")
    for number in range(100):
        one.hit(f"caller {number}")
    now[0] = 20.0
    two.hit("b")
    with closing(sqlite3.connect(file)) as read:
        assert read.execute("SELECT caller FROM callers").fetchall() == [("b",)]
    one.close()
    two.close()


def test_where_requests_cannot_be_counted_they_are_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit = RateLimiter(1.0, tmp_path / "rate.sqlite")
    limit.close()
    for _ in range(3):
        limit.hit("a")
    assert {record.message for record in caplog.records} == {"rate_not_counted"}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("nonsense", "nonsense"),
    ],
)
def test_addresses_of_one_network_of_ipv6_are_one_caller(host: str, expected: str) -> None:
    assert address_of(Request({"type": "http", "client": (host, 50_000)})) == expected
    assert address_of(Request({"type": "http", "client": None})) == ""


def test_a_server_holds_the_rate(serve: Serve) -> None:
    server = serve("--rate", "1", only=("one",))
    statuses = [server.client.get("/v1/model").status_code for _ in range(6)]
    assert statuses[0] == 200
    assert 429 in statuses
    while (answer := server.client.get("/v1/model")).status_code != 429:
        pass
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"]["code"] == "rate_limited"
    assert answer.json()["error"]["message"] == "more than 1 requests per second"
    # The probes are not limited.
    assert {server.client.get("/readyz").status_code for _ in range(6)} == {200}


@pytest.mark.slow
def test_workers_hold_one_rate_together(serve: Serve) -> None:
    server = serve("--workers", "2", "--rate", str(RATE), only=("one",))
    seconds = 3.0
    start = time.monotonic()
    statuses = hammer(server, seconds, {})
    took = time.monotonic() - start
    assert statuses.keys() == {200, 429}
    # The rate, and what a caller may ask at once.
    assert RATE * seconds * 0.8 <= statuses[200] <= RATE * (took + 1) + 1
    both = {line["process"] for line in server.log() if line.get("status") == 200}
    assert len(both) == 2

    # Wrong keys count for their address, and hold up no other's key.
    with closing(open_store(server.events)) as store:
        key, other = (create_key(store, name, ["read"]) for name in ("shop", "other"))
    start = time.monotonic()
    statuses = hammer(server, seconds, bearer("tt_" + "x" * 43))
    took = time.monotonic() - start
    assert statuses.keys() == {401, 429}
    assert RATE * seconds * 0.8 <= statuses[401] <= RATE * (took + 1) + 1
    assert server.client.get("/v1/model", headers=bearer(key)).status_code == 200

    # A key has a rate of its own, wherever it is used.
    statuses = hammer(server, 1.0, bearer(key))
    assert statuses.keys() == {200, 429}
    assert server.client.get("/v1/model", headers=bearer(other)).status_code == 200


@pytest.mark.parametrize(("options", "second"), [((), 429), (("--proxy", "127.0.0.1"), 200)])
@pytest.mark.parametrize("guess", [False, True])
def test_only_a_named_proxy_says_who_asks(
    serve: Serve, options: tuple[str, ...], second: int, guess: bool
) -> None:
    server = serve("--rate", "0.001", *options, only=("one",))
    if guess:
        with closing(open_store(server.events)) as store:
            create_key(store, "shop", ["read"])
    statuses = [
        server.client.get("/v1/model", headers={"X-Forwarded-For": f"192.0.2.{n}"}).status_code
        for n in (1, 2)
    ]
    answered = 401 if guess else 200
    assert statuses == [answered, second if second == 429 else answered]
