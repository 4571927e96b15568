"""Requests that are half sent or too large; ids of requests, answers and traces."""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.web.conftest import Serve
from tests.web.server import Server
from tests.web.test_faults import until
from twotower.serving.store.opening import open_store

JSON_TYPE = {"Content-Type": "application/json"}
RECOMMEND = "/v1/recommendations"
HEAD = b"POST /v1/recommendations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    """One that waits two seconds for a request."""
    return serve("--receive-timeout", "2", only=("one",))


def received(connection: socket.socket) -> bytes:
    """All that the server sends until it closes the connection; a reset closes it, too."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


@pytest.mark.parametrize(
    "half",
    [
        HEAD + b"Content-Length: 100\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
        HEAD,
        HEAD[:20],
    ],
)
def test_half_a_request_times_out(server: Server, half: bytes) -> None:
    start = time.monotonic()
    with connect(server) as connection:
        connection.sendall(half)
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"slow_request"' in answer
    assert 1.5 < time.monotonic() - start < 10
    assert server.client.get("/readyz").status_code == 200
    assert not [line for line in server.log() if "traceback" in line]


def counted(server: Server, status: int) -> dict[str, float]:
    """Route -> number of requests that got a status."""
    found: dict[str, float] = {}
    for line in server.client.get("/metrics").text.splitlines():
        match = re.fullmatch(
            rf'twotower_requests_total{{method=".*",route="(.*)",status="{status}"}} (.*)', line
        )
        if match is not None:
            found[match[1]] = found.get(match[1], 0) + float(match[2])
    return found


@pytest.mark.parametrize(
    ("sent", "status", "route"),
    [
        (HEAD + b"Content-Length: 100\r\n\r\n{", 408, RECOMMEND),
        (HEAD[:20], 408, "none"),
        (HEAD + b"X-Long: " + b"x" * 100_000, 431, "none"),
    ],
)
def test_a_request_that_is_refused_on_its_way_is_counted_once(
    server: Server, sent: bytes, status: int, route: str
) -> None:
    before = {code: counted(server, code) for code in (0, 400, 408, 431)}
    with connect(server) as connection:
        connection.sendall(sent)
        received(connection)
    until(lambda: counted(server, status) != before[status])
    expected = {**before, status: {**before[status], route: before[status].get(route, 0) + 1}}
    assert {code: counted(server, code) for code in before} == expected


def test_a_slow_request_that_arrives_in_time_is_answered(server: Server) -> None:
    with connect(server) as connection:
        for part in (HEAD[:30], HEAD[30:], b"Content-Length: 2\r\n", b"\r\n", b"{", b"}"):
            connection.sendall(part)
            time.sleep(0.1)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "start",
    [
        HEAD + b"X-Long: ",
        HEAD + b"Authorization: ",
        HEAD + b"X-Request-Id: ",
        CHUNKED + b"\r\n{}\r\n0\r\nX-Trailer: ",
        CHUNKED + b";extension=",
    ],
)
def test_long_headers_are_refused_and_hold_up_nobody(server: Server, start: bytes) -> None:
    slowest = [0.0]
    done = threading.Event()

    def probe() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=20) as client:
            while not done.is_set():
                start = time.monotonic()
                assert client.get("/healthz").status_code == 200
                slowest[0] = max(slowest[0], time.monotonic() - start)

    thread = threading.Thread(target=probe)
    thread.start()
    answer = b""
    with connect(server) as connection:
        try:
            connection.sendall(start)
            for _ in range(60):
                connection.sendall(b"x" * 1_000_000)
        except ConnectionError:
            pass  # closed, as it has to be
        else:
            raise AssertionError("60 MB were taken")
        answer = received(connection)
    done.set()
    thread.join()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    assert slowest[0] < 1.5


def test_headers_of_some_size_are_fine(server: Server) -> None:
    headers = {f"X-Header-{number}": "x" * 1000 for number in range(30)}
    assert server.client.get("/v1/model", headers=headers).status_code == 200
    answer = server.client.get("/v1/model", headers={"X-Long": "x" * 70_000})
    assert answer.status_code in (200, 431)


def test_many_trailers_are_refused(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(CHUNKED + b"\r\n{}\r\n0\r\n")
        try:
            for _ in range(1000):
                connection.sendall(b"X-Trailer: " + b"x" * 5000 + b"\r\n")
        except ConnectionError:
            return
        assert received(connection) == b""


def test_trailers_are_not_headers(server: Server) -> None:
    trailers = (
        b"X-Request-Id: of-a-trailer\r\nOrigin: https://evil.example\r\nExpect: 100-continue\r\n"
    )
    with connect(server) as connection:
        connection.sendall(CHUNKED + b"\r\n{}\r\n0\r\n" + trailers + b"\r\n")
        answer = connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"of-a-trailer" not in answer


def asking_for_much(server: Server, buffer: int) -> socket.socket:
    """A connection on which 151 answers of 35 kB are asked for, and so much is received unread."""
    ask = b"GET /v1/items?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(150 * ask + ask.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    return connection


@pytest.mark.skipif(sys.platform != "linux", reason="others do not close such a connection")
def test_an_answer_that_nobody_takes_is_given_up(server: Server) -> None:
    with asking_for_much(server, 4096):
        until(lambda: any(line["event"] == "answer_not_taken" for line in server.log()))
    assert server.client.get("/readyz").status_code == 200


def test_an_answer_that_is_taken_slowly_is_whole(server: Server) -> None:
    expected = server.client.get("/v1/items?limit=1000").content
    parts, start = [], time.monotonic()
    with asking_for_much(server, 200_000) as connection:
        while part := connection.recv(1 << 16):
            parts.append(part)
            if time.monotonic() - start < 8:
                time.sleep(0.5)
    assert b"".join(parts).count(expected) == 151


def test_after_a_refusal_the_rest_of_an_upload_is_not_read(server: Server) -> None:
    def taken(head: bytes) -> int:
        """Megabytes of an endless body that are taken."""
        with connect(server) as connection:
            connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            for number in range(200):
                try:
                    connection.sendall(b"f4240\r\n" + b" " * 1_000_000 + b"\r\n")
                except ConnectionError:
                    return number
        return 200

    assert taken(HEAD) < 50
    assert taken(b"POST /nothing HTTP/1.1\r\nHost: localhost\r\n") < 50, server.log()[-3:]
    assert server.client.get("/readyz").status_code == 200


def test_an_upload_that_is_too_large_is_answered_and_closed(server: Server) -> None:
    def chunks() -> Iterator[bytes]:
        yield b" " * 2_100_000

    answer = server.client.post(RECOMMEND, content=chunks(), headers=JSON_TYPE)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


# --- ids ---


def test_answers_to_one_request_id_are_all_logged(server: Server) -> None:
    headers = {"X-Request-Id": "the-gateways-own"}
    answers = [
        server.client.post(RECOMMEND, json={"user_id": "u00007"}, headers=headers) for _ in range(5)
    ]
    assert {answer.headers["x-request-id"] for answer in answers} == {"the-gateways-own"}
    made = {answer.json()["request_id"] for answer in answers}
    assert len(made) == 5
    server.delete("/v1/users/somebody-else")  # stores what is held in memory first
    store = open_store(server.events)
    try:
        assert all(store.find_impression(request_id) is not None for request_id in made)
    finally:
        store.close()


def test_a_trace_is_carried_on(server: Server) -> None:
    parent = f"00-{TRACE}-00f067aa0ba902b7-01"
    answer = server.client.get("/v1/model", headers={"traceparent": parent})
    version, trace, span, flags = answer.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert span != "00f067aa0ba902b7"
    assert len(span) == 16
    assert answer.headers["x-request-id"] == TRACE
    for odd in (f"ff-{TRACE}-00f067aa0ba902b7-01", f"00-{'0' * 32}-00f067aa0ba902b7-01", "x"):
        answer = server.client.get("/v1/model", headers={"traceparent": odd})
        assert answer.status_code == 200
        assert "traceparent" not in answer.headers


def test_an_impression_that_cannot_be_stored_is_dropped_alone(server: Server) -> None:
    def counted(outcome: str) -> float:
        name = f'twotower_impressions_total{{outcome="{outcome}"}} '
        lines = server.client.get("/metrics").text.splitlines()
        return next((float(line.removeprefix(name)) for line in lines if name in line), 0.0)

    server.refused("POST", RECOMMEND, 422, json={"user_id": " "})
    before = counted("stored")
    for user in ("a\nb", "\u2003x", "y" * 500):
        server.recommend(user)
    server.delete("/v1/users/somebody-else")
    assert counted("stored") == before + 3
    assert counted("refused") == 0
