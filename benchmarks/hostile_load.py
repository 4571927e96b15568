"""Good clients beside hostile ones: failures, latencies, memory; about 17 minutes.

Good clients ask at a fixed rate, alone (half of that before and half after, as machines drift) and
beside clients that send what a service has to survive: filters beyond the range of a type, blank
and endless ids, features and filters that are never the same, batches as large as allowed, events
of 1.9 MB, endless headers, half-sent requests, uploads beyond the limit. All of them share the
machine and its cores with the service. What that costs alone is `floor`: the good clients ask a
server that does nothing, beside hostile clients that send to another such server.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
import uvicorn

from benchmarks.common import emit, parser
from benchmarks.serve_load import build, memory, percentiles, served

RECOMMEND, EVENTS = "/v1/recommendations", "/v1/events"
GOOD_CONNECTIONS = 8
OPEN_SOCKETS = 50
"""Half-sent requests that wait at the same time."""
TIMEOUT = 30
MAX_BODY = 2_000_000
"""Bytes of a request that the server that does nothing reads."""
Action = Callable[[httpx.Client, int], int]
"""Sends request number n of its kind and returns the status; 0: the connection was closed."""


# --- good clients ---------------------------------------------------------------------------------


def good_request(number: int, users: int, items: int) -> tuple[str, str, Any]:
    """Method, path and body of a request that has to be answered with 200."""
    user, item = number * 7919 % users, number * 104_729 % items
    match number % 10:
        case 0:
            return "POST", EVENTS, {"user_id": user, "item_id": item, "event_type": "click"}
        case 1:
            return "POST", "/v1/rank", {"user_id": user, "items": [item, item + 1, item + 2]}
        case 2:
            return "GET", f"/v1/items/{item}/similar", None
        case 3:
            kept = {"column": "rank", "range": {"max": 0.5}}
            return "POST", RECOMMEND, {"user_id": user, "filter": kept}
    return "POST", RECOMMEND, {"user_id": user}


def kind_of(method: str, path: str, body: Any) -> str:
    """What a good request asks for."""
    if method == "GET":
        return "similar"
    filtered = path == RECOMMEND and "filter" in body
    return "filtered" if filtered else path.rpartition("/")[2]


def ask_well(
    url: str, seconds: float, rate: float, sizes: tuple[int, int], results: Any, first: int
) -> None:
    """Ask at a fixed rate on several connections; the process of the good clients."""
    times: list[tuple[str, float]] = []
    failed: Counter[str] = Counter()
    numbers = itertools.count(first)
    start = time.perf_counter()

    def ask(place: int) -> None:
        with httpx.Client(base_url=url, timeout=TIMEOUT) as client:
            for turn in itertools.count():
                due = start + (turn * GOOD_CONNECTIONS + place) / rate
                if due > start + seconds:
                    return
                time.sleep(max(0.0, due - time.perf_counter()))
                method, path, body = good_request(next(numbers), *sizes)
                sent = time.perf_counter()
                try:
                    status = str(client.request(method, path, json=body).status_code)
                except httpx.HTTPError as error:
                    status = type(error).__name__
                kind = kind_of(method, path, body)
                times.append((kind, time.perf_counter() - sent))
                if status != "200":
                    failed[f"{method} {path}: {status}"] += 1

    in_threads([partial(ask, place) for place in range(GOOD_CONNECTIONS)])
    results.put((times, dict(failed)))


def in_threads(works: Sequence[Callable[[], None]]) -> None:
    """Run functions at the same time."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- hostile clients ------------------------------------------------------------------------------


def posting(path: str, body: Callable[[int], Any], **headers: str) -> Action:
    """An action that posts JSON."""
    return lambda client, n: client.post(path, json=body(n), headers=headers).status_code


def raw(client: httpx.Client, head: bytes, part: bytes, parts: int) -> int:
    """Send bytes until all are sent or the server closes the connection."""
    address = urlsplit(str(client.base_url))
    with socket.create_connection((address.hostname, address.port), TIMEOUT) as connection:
        try:
            connection.sendall(head)
            for _ in range(parts):
                connection.sendall(part)
            return int((connection.recv(64).split() or [b"", b"0"])[1])
        except (ConnectionError, IndexError):
            return 0


POST = b"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
ODD_BOUNDS = (1e30, -1e30, 2**62, 1e308, "9999-12-31T23:59:59-14:00", "", "x", True)
ODD_IDS = (" ", "\n", "\x00", "x" * 500, "x" * 5000, "💥", "../../etc/passwd", -(2**63))


def odd_filter(n: int) -> Any:
    """A filter with a value that its column's type may not hold."""
    column = ("item_id", "rank", "category", "title", "no such column")[n % 5]
    value = ODD_BOUNDS[n % len(ODD_BOUNDS)]
    test = ({"equals": value}, {"in": [value, None]})[n % 2]
    return {"filter": {"not": {"column": column, **test}} if n % 3 else {"column": column, **test}}


def half_sent() -> Action:
    """Open connections that send half a request and wait; the oldest ones are given up."""
    held: list[socket.socket] = []

    def open_one(client: httpx.Client, n: int) -> int:
        address = urlsplit(str(client.base_url))
        connection = socket.create_connection((address.hostname, address.port), TIMEOUT)
        connection.sendall(POST if n % 2 else POST + b"Content-Length: 100\r\n\r\n{")
        held.append(connection)
        if len(held) > OPEN_SOCKETS:
            held.pop(0).close()
        return 0

    return open_one


def actions() -> dict[str, tuple[float, Action]]:
    """Kind of hostile client -> seconds between two of its requests, and what it does."""
    many = {"user_id": 1, "k": 100}
    rich = [{"user_id": n, "item_id": n, "context": {"note": "x" * 1800}} for n in range(1000)]
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    return {
        "odd_filters": (0.05, posting(RECOMMEND, odd_filter)),
        "odd_ids": (0.1, posting(RECOMMEND, lambda n: {"user_id": ODD_IDS[n % len(ODD_IDS)]})),
        "new_filters": (
            0.1,
            posting(
                RECOMMEND,
                lambda n: {"filter": {"column": "item_id", "in": list(range(n, n + 5000))}},
            ),
        ),
        "new_features": (
            0.1,
            posting(RECOMMEND, lambda n: {"user": {f"c{n}": f"{n}" * 2000}, "user_id": None}),
        ),
        "large_batches": (
            2,
            posting("/v1/recommendations:batch", lambda _: {"requests": [many] * 64}),
        ),
        "large_events": (5, posting(EVENTS, lambda _: {"events": rich})),
        "one_request_id": (
            0.1,
            posting(RECOMMEND, lambda n: {"user_id": n}, **{"X-Request-Id": "a"}),
        ),
        "no_json": (
            0.1,
            lambda client, _: (
                client.post(
                    RECOMMEND, content=b"[" * 50_000, headers={"Content-Type": "application/json"}
                ).status_code
            ),
        ),
        "endless_headers": (1, lambda c, _: raw(c, POST + b"X-Long: ", b"x" * 1_000_000, 60)),
        "endless_uploads": (
            1,
            lambda c, _: raw(c, chunked, b"f4240\r\n" + b" " * 10**6 + b"\r\n", 60),
        ),
        "half_sent": (0.2, half_sent()),
    }


def attack(url: str, seconds: float, results: Any) -> None:
    """Run the hostile clients, each in a thread; the process of the hostile clients."""
    end = time.perf_counter() + seconds
    statuses: dict[str, Counter[int]] = {}

    def repeat(kind: str, pause: float, action: Action) -> None:
        counted = statuses[kind] = Counter()
        with httpx.Client(base_url=url, timeout=TIMEOUT) as client:
            for n in itertools.count():
                if time.perf_counter() > end:
                    return
                with contextlib.suppress(httpx.HTTPError, OSError):
                    counted[action(client, n)] += 1
                time.sleep(pause)

    in_threads([partial(repeat, kind, *one) for kind, one in actions().items()])
    results.put({kind: {str(s): n for s, n in sorted(c.items())} for kind, c in statuses.items()})


# --- a server that does nothing -------------------------------------------------------------------


async def do_nothing(scope: Any, receive: Any, send: Any) -> None:
    """Read a request's body, up to the service's limit, and answer 200."""
    if scope["type"] == "http":
        size, more = 0, True
        while more and size <= MAX_BODY:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        end = [(b"connection", b"close")] if more else []
        headers = [(b"content-length", b"2"), *end]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})


def run_idle(listening: socket.socket) -> None:
    """Serve `do_nothing`; the process of the server."""
    uvicorn.Server(uvicorn.Config(do_nothing, lifespan="off", log_level="error")).run([listening])


@contextlib.contextmanager
def idle_server() -> Iterator[str]:
    """A server that does nothing, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        process = multiprocessing.get_context("spawn").Process(target=run_idle, args=(listening,))
        process.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join()


def floor(options: Any) -> dict[str, Any]:
    """What good clients get of a server that does nothing, alone and beside hostile ones."""
    sizes, seconds = (options.users, options.items), options.alone / 2
    with idle_server() as url, idle_server() as other:
        spawned(ask_first, url, 2, options.rate, sizes)()
        alone = summary(spawned(ask_first, url, seconds, options.rate, sizes)())
        hostile = spawned(attack, other, seconds)
        beside = summary(spawned(ask_then, url, seconds, options.rate, sizes)())
        hostile()
    return {"seconds": seconds, "alone": alone, "beside_hostile": beside}


# --- the measurement ------------------------------------------------------------------------------


def spawned(work: Callable[..., None], *arguments: Any) -> Callable[[], Any]:
    """Start a function in a process of its own; call the result to get what it has put."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=work, args=(*arguments, results))
    process.start()

    def finished() -> Any:
        found = results.get()
        process.join()
        return found

    return finished


def ask_first(url: str, seconds: float, rate: float, sizes: tuple[int, int], results: Any) -> None:
    """The good clients alone."""
    ask_well(url, seconds, rate, sizes, results, 0)


def ask_then(url: str, seconds: float, rate: float, sizes: tuple[int, int], results: Any) -> None:
    """The good clients again, with other users."""
    ask_well(url, seconds, rate, sizes, results, 1_000_000)


def summary(found: tuple[list[tuple[str, float]], Mapping[str, int]]) -> dict[str, Any]:
    """Latencies and failures of the good clients."""
    timed, failed = found
    times = [seconds for _, seconds in timed]
    by_kind: dict[str, list[float]] = {}
    for kind, seconds in timed:
        by_kind.setdefault(kind, []).append(seconds)
    return {
        "requests": len(times),
        "failed": sum(failed.values()),
        **percentiles(times),
        "p99_ms_by_tenth": [percentiles(part)["p99_ms"] for part in tenths(times)],
        "p99_ms_by_kind": {
            kind: percentiles(part)["p99_ms"] for kind, part in sorted(by_kind.items())
        },
    } | ({"failures": dict(failed)} if failed else {})


def tenths(values: list[float]) -> list[list[float]]:
    """Values in their order, in ten parts, so that what grows with time is seen."""
    size = -(-len(values) // 10)
    return [values[start : start + size] for start in range(0, len(values), size)]


def measure(url: str, process: psutil.Process, options: Any) -> dict[str, Any]:
    """The good clients alone, beside the hostile ones, and alone again."""
    sizes = (options.users, options.items)

    def ask_alone() -> tuple[list[tuple[str, float]], dict[str, int]]:
        found: tuple[list[tuple[str, float]], dict[str, int]]
        found = spawned(ask_first, url, options.alone / 2, options.rate, sizes)()
        return found

    spawned(ask_first, url, 5, options.rate, sizes)()
    before = ask_alone()
    hostile = spawned(attack, url, options.seconds)
    good = spawned(ask_then, url, options.seconds, options.rate, sizes)
    megabytes = []
    end = time.perf_counter() + options.seconds
    while time.perf_counter() < end:
        time.sleep(min(5.0, options.seconds / 20))
        megabytes.append(round(memory(process), 1))
    beside, statuses = summary(good()), hostile()
    after = ask_alone()
    alone = summary((before[0] + after[0], Counter(before[1]) + Counter(after[1])))
    third = max(1, len(megabytes) // 3)
    middle, last = megabytes[third : 2 * third] or megabytes, megabytes[-third:]
    return {
        "alone": alone,
        "beside_hostile": beside,
        "p99_ratio": round(beside["p99_ms"] / alone["p99_ms"], 2),
        "memory_mb": {"first": megabytes[0], "last": megabytes[-1], "largest": max(megabytes)},
        "memory_mb_by_tenth": [part[-1] for part in tenths(megabytes)],
        "memory_growth_of_the_last_third": round(float(np.mean(last) / np.mean(middle) - 1), 4),
        "hostile_statuses": statuses,
    }


def main() -> None:
    """Measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--seconds", type=float, default=600, help="of the mixed load")
    made.add_argument("--alone", type=float, default=120, help="seconds of good clients alone")
    made.add_argument("--rate", type=float, default=40, help="good requests per second")
    made.add_argument("--items", type=int, default=20_000)
    made.add_argument("--users", type=int, default=10_000)
    made.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="default: one a core"
    )
    options = made.parse_args()
    folder = Path(tempfile.mkdtemp())
    build(folder / "bundles", options.items, options.users, 20 * options.users, 1)
    with served(folder, "--workers", str(options.workers)) as (url, process):
        measured = measure(url, process, options)
    result = {
        "protocol": "good clients at a fixed rate, alone and beside hostile ones, on one machine",
        "configuration": {
            "items": options.items,
            "users": options.users,
            "workers": options.workers,
            "seconds": options.seconds,
            "good_requests_per_second": options.rate,
            "cores": os.cpu_count(),
        },
        "floor": floor(options),
        **measured,
    }
    emit(result, "hostile_load", save=options.save)
    print(json.dumps(measured["hostile_statuses"]), file=sys.stderr)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
