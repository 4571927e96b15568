"""The service under load: time, throughput, filters, events, swaps, memory; about 15 minutes.

A million items with vectors of 64 numbers in an HNSW index, a history feature, an untrained model
whose vectors lie in clusters of about 140 items, which a search finds as hard as gowalla's trained
ones (some 1,500 inner products for 130 items; vectors without any order ask for 5,000).
`with_ranker` is the same with a ranking stage over 100 candidates. `--items` makes it smaller. The
load generator is `wrk`, on the same machine and the same cores; over HTTP it asks on one connection
first, and so does a client in Python (`client`), whose own time counts there, too. `--parts a,b`
takes some of the parts; with `--save` the figures that are kept of the others stay.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import httpx
import numpy as np
import polars as pl
import psutil
import torch
import torch.nn.functional as F

from benchmarks.common import emit, parser, saved
from twotower.config import RankerConfig, parse_config
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.splits import Parts
from twotower.data.synthetic.shop import generate_interactions
from twotower.data.tables.tables import Tables
from twotower.models.ranker.ncf import NeuralCF
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.serving.answer.requests import AnswerRequest, SearchOptions
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.serving.live.versions import Pool
from twotower.serving.live.worker import Worker
from twotower.serving.store.opening import open_store
from twotower.web.service import freeze_garbage_collector

CONFIG: dict[str, Any] = {
    "data": {"interactions": "log.parquet", "items": "items.parquet"},
    "features": {
        "item": {"category": {"type": "category"}},
        "user": {"history": {"type": "history", "encoder": "mean", "max_length": 20}},
    },
    "retriever": {"embedding_dim": 64},
    "index": {"kind": "hnsw"},
}
CLUSTER, NOISE = 140, 0.8
SHARES = (0.5, 0.1, 0.01, 0.001)
CONNECTIONS = (8, 16, 32)
PATH, BODY = "/v1/recommendations", '{"user_id": %d}'
WARM_UP, REQUESTS = 200, 2000


def build(folder: Path, num_items: int, num_users: int, rows: int, seeds: int) -> None:
    """Bundles of an untrained model over a synthetic log with a column for filters, and in
    `ranked` beside the folder that of the first seed with a ranker."""
    rng = np.random.default_rng(0)
    items = pl.DataFrame(
        {
            "item_id": np.arange(num_items),
            "title": [f"item {num}" for num in range(num_items)],
            "category": [f"c{num}" for num in rng.integers(0, 50, num_items)],
            "rank": rng.random(num_items),
        }
    )
    log = generate_interactions(rows, num_users, num_items)
    config = parse_config(CONFIG)
    parts = Parts(log, log.clear(), log.clear(), "random", "")
    data = Dataset.from_parts(config, Tables(log, None, items), parts)
    for seed in range(seeds):
        model = TwoTower(config.retriever, data.schema, seed=seed)
        gather_in_clusters(model, max(1, num_items // CLUSTER), seed)
        recommender = Recommender.build(model, data.train, config)
        heldout = log[:200].select("user_id", "item_id")
        recommender.save(folder / f"v{seed}", heldout=heldout)
        if not seed:
            ranked = with_ranker(recommender)
            ranked.save(folder.parent / "ranked" / "bundles" / "v0", heldout=heldout)


def gather_in_clusters(model: TwoTower, number: int, seed: int) -> None:
    """Put the embeddings of both sides' ids around as many centres, but for the bias."""
    generator = torch.Generator().manual_seed(seed)
    width = model.config.embedding_dim - 1
    centres = F.normalize(torch.randn(number, width, generator=generator))
    for encoder, noise in zip(model.id_encoders(), (0.0, NOISE), strict=True):
        weight = encoder.table.weight.detach()
        chosen = centres[torch.randint(number, (len(weight),), generator=generator)]
        spread = torch.randn(chosen.shape, generator=generator) * width**-0.5
        weight[:, :width] = chosen + noise * spread


def with_ranker(recommender: Recommender) -> Recommender:
    """The same with an untrained ranker, both branches, over 100 candidates."""
    config = RankerConfig(num_candidates=100)
    ranker = NeuralRanker.build(NeuralCF(config, recommender.served.schema), recommender.items)
    whole = recommender.served.config.model_copy(update={"ranker": config})
    return Recommender(replace(recommender.served, config=whole, ranker=ranker))


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p99 and the mean in milliseconds."""
    ms = 1e3 * np.array(seconds)
    return {
        "p50_ms": round(float(np.percentile(ms, 50)), 3),
        "p99_ms": round(float(np.percentile(ms, 99)), 3),
        "mean_ms": round(float(ms.mean()), 3),
    }


def in_process(folder: Path, users: list[int]) -> dict[str, Any]:
    """One recommendation at a time, as the service's thread makes it; and with filters."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    store = open_store(folder / "in-process.sqlite")
    worker = Worker(store, Pool(folder / "bundles"))
    served = worker.active().served
    index = served.index
    freeze_garbage_collector()

    def measure(**fields: Any) -> dict[str, float]:
        times, options = [], SearchOptions(**fields)
        for place, user in enumerate(users[: WARM_UP + REQUESTS]):
            start = time.perf_counter()
            answer = worker.answer([AnswerRequest(user, options=options)])[0]
            times.append(time.perf_counter() - start)
            assert not isinstance(answer, Exception), answer
            if place in (0, WARM_UP):
                assert len(answer.items) == 10
        return percentiles(times[WARM_UP:])

    found: dict[str, Any] = {
        "index": {
            "kind": index.kind,
            "items": len(index.item_nums),
            "recall": served.index_recall,
        },
        "recommendation": measure(),
        "without_reasons": measure(reasons=False),
    }
    for share in SHARES:
        kept = {"column": "rank", "range": {"max": share}}
        found[f"filter_keeps_{share:g}"] = measure(filter=kept)
    store.close()
    return found


# --- the server -------------------------------------------------------------------------------


@contextlib.contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    """A server of its own process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "twotower", "serve", str(folder / "bundles")]
    events = folder / f"events-{time.monotonic_ns()}.sqlite"
    command += ["--events", str(events), "--port", str(port), "--log-level", "warning", *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(3000):
            if process.poll() is not None:
                sys.exit("the server did not start: see `twotower serve` with the same bundles")
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            time.sleep(0.1)
        yield url, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def over_http(url: str, folder: Path, users: list[int], seconds: int) -> dict[str, Any]:
    """One request at a time on one connection."""
    times, inside = [], []
    with httpx.Client(base_url=url) as client:
        for user in users[: WARM_UP + REQUESTS]:
            content = json.dumps({"user_id": user}).encode()
            start = time.perf_counter()
            answer = client.post(
                "/v1/recommendations", content=content, headers={"content-type": "application/json"}
            )
            times.append(time.perf_counter() - start)
            assert answer.status_code == 200, answer.text
            inside.append(answer.json()["timings_ms"]["total"] / 1e3)
    load = wrk(url, folder, PATH, BODY, users, connections=1, seconds=seconds)
    return {
        "one_connection": load,
        "client": percentiles(times[WARM_UP:]),
        "reported_by_the_server": percentiles(inside[WARM_UP:]),
    }


WRK = """
local users = {{{users}}}
local at = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
function request()
  at = at % #users + 1
  return wrk.format(nil, "{path}", nil, string.format('{body}', users[at], at))
end
function done(summary, latency, requests)
  io.write(string.format("FOUND %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
"""


def wrk(url: str, folder: Path, path: str, body: str, users: list[int], **how: int) -> Any:
    """Load from `wrk`: requests a second, latencies, errors."""
    script = folder / "load.lua"
    listed = ",".join(str(user) for user in users[:20_000])
    script.write_text(WRK.format(users=listed, path=path, body=body), encoding="utf-8")
    connections, seconds = how["connections"], how["seconds"]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    match = re.search(r"FOUND (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", text)
    assert match is not None, text
    requests, micros, errors, p50, p99, longest = (int(group) for group in match.groups())
    return {
        "connections": connections,
        "requests_per_second": round(requests / (micros / 1e6), 1),
        "p50_ms": p50 / 1e3,
        "p99_ms": p99 / 1e3,
        "max_ms": longest / 1e3,
        "errors": errors,
    }


def memory(process: psutil.Process) -> float:
    """Megabytes of a process and its children that are their own."""
    family = [process, *process.children(recursive=True)]
    return sum(one.memory_full_info().uss for one in family) / 1e6


def files(process: psutil.Process) -> int:
    """File handles of a process and its children."""
    return sum(one.num_fds() for one in [process, *process.children(recursive=True)])


def swaps(url: str, process: psutil.Process, count: int, users: list[int]) -> dict[str, Any]:
    """Activations while answers are asked for: no failure, no mixing, memory flat."""
    versions = ("v0", "v1")
    stop = threading.Event()
    outcomes: list[str] = []
    thread = threading.Thread(target=ask_until, args=(url, users[:200], stop, outcomes))
    for version in versions:  # both versions are at hand from here on
        activate(url, version)
    thread.start()
    sizes = []
    for number in range(count):
        activate(url, versions[number % 2])
        if number >= count // 5:
            sizes.append(memory(process))
    stop.set()
    thread.join()
    tenth = max(1, len(sizes) // 10)
    return {
        "swaps": count,
        "answers": len(outcomes),
        "by_version": {name: outcomes.count(name) for name in versions},
        "failed_or_mixed": sum(outcome not in versions for outcome in outcomes),
        "memory_growth": round(float(np.mean(sizes[-tenth:]) / np.mean(sizes[:tenth]) - 1), 4),
    }


def activate(url: str, version: str) -> None:
    """Have a version answer."""
    answer = httpx.post(f"{url}/v1/models/{version}:activate", json={"force": True}, timeout=120)
    assert answer.status_code == 200, answer.text


def ask_until(url: str, users: list[int], stop: threading.Event, outcomes: list[str]) -> None:
    """Note the version of each answer; its items are compared with the first answer of that version
    to the user."""
    first: dict[tuple[str, int], Any] = {}
    with httpx.Client(base_url=url, timeout=60) as client:
        while not stop.is_set():
            for user in users:
                answer = client.post("/v1/recommendations", json={"user_id": user})
                if answer.status_code != 200:
                    outcomes.append("failed")
                    continue
                version = answer.json()["model_version"]
                items = [item["item_id"] for item in answer.json()["items"]]
                same = first.setdefault((version, user), items) == items
                outcomes.append(version if same else "mixed")


def long_run(
    url: str, folder: Path, process: psutil.Process, users: list[int], seconds: int
) -> Any:
    """Memory and file handles over a long load."""
    wrk(url, folder, PATH, BODY, users, connections=16, seconds=10)
    before = (memory(process), files(process))
    load = wrk(url, folder, PATH, BODY, users, connections=16, seconds=seconds)
    after = (memory(process), files(process))
    return {
        "seconds": seconds,
        "load": load,
        "memory_growth": round(after[0] / before[0] - 1, 4),
        "file_handles": [before[1], after[1]],
    }


Part = Callable[[Path, list[int], Any], Any]


def part_over_http(folder: Path, users: list[int], options: Any) -> Any:
    """One connection, one process."""
    with served(folder) as (url, _):
        return over_http(url, folder, users, options.seconds)


def part_load(folder: Path, users: list[int], options: Any) -> Any:
    """Several processes under more and more load."""
    with served(folder, "--workers", str(options.workers)) as (url, _):
        return loads(url, folder, users, options.seconds)


def part_events(folder: Path, _: list[int], options: Any) -> Any:
    """The same, as events come in."""
    with served(folder, "--workers", str(options.workers)) as (url, _process):
        return events_load(url, options.seconds)


def part_with_ranker(folder: Path, users: list[int], options: Any) -> Any:
    """In process and under load, with a ranking stage."""
    ranked = folder / "ranked"
    return {"in_process": in_process(ranked, users), "load": part_load(ranked, users, options)}


def part_long(folder: Path, users: list[int], options: Any) -> Any:
    """Memory and files over a long load."""
    with served(folder, "--workers", str(options.workers)) as (url, process):
        return long_run(url, folder, process, users, options.long)


def part_swaps(folder: Path, users: list[int], options: Any) -> Any:
    """Two small bundles in turns."""
    with served(folder / "small") as (url, process):
        return swaps(url, process, options.swaps, [user % 2000 for user in users])


PARTS: dict[str, Part] = {
    "in_process": lambda folder, users, _: in_process(folder, users),
    "over_http": part_over_http,
    "load": part_load,
    "events": part_events,
    "with_ranker": part_with_ranker,
    "swaps": part_swaps,
    "long": part_long,
}


def main() -> None:
    """Measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--items", type=int, default=1_000_000)
    made.add_argument("--users", type=int, default=100_000)
    made.add_argument("--rows", type=int, default=3_000_000)
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--seconds", type=int, default=20, help="of each load")
    made.add_argument("--long", type=int, default=60, help="seconds of the load for memory")
    made.add_argument("--swaps", type=int, default=200)
    made.add_argument("--folder", type=Path, help="keep the bundles here, or use those there")
    made.add_argument("--parts", default=",".join(PARTS), help="names, with commas between")
    options = made.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    if not (folder / "bundles" / "v0").is_dir():
        build(folder / "bundles", options.items, options.users, options.rows, 1)
    if not (folder / "small" / "bundles").is_dir():
        build(folder / "small" / "bundles", 5000, 2000, 60_000, 2)
    users = np.random.default_rng(1).integers(0, options.users, 50_000).tolist()
    result = {
        "protocol": "untrained towers, history of 20, k = 10, seen items masked",
        "configuration": {
            "items": options.items,
            "users": options.users,
            "embedding_dim": 64,
            "workers": options.workers,
            "cores": os.cpu_count(),
        },
    }
    kept = saved("serve_load") if options.save else {}
    names = options.parts.split(",")
    for name, part in PARTS.items():
        if name in names:
            result[name] = part(folder, users, options)
            print(name, json.dumps(result[name]), file=sys.stderr, flush=True)
        elif name in kept:
            result[name] = kept[name]
    emit(result, "serve_load", save=options.save)
    if options.folder is None:
        shutil.rmtree(folder)


def loads(url: str, folder: Path, users: list[int], seconds: int) -> list[Any]:
    """Requests on more and more connections, after a moment to get warm."""
    wrk(url, folder, PATH, BODY, users, connections=8, seconds=5)
    return [
        wrk(url, folder, PATH, BODY, users, connections=number, seconds=seconds)
        for number in CONNECTIONS
    ]


def events_load(url: str, seconds: int) -> dict[str, Any]:
    """Events a second that are acknowledged as durable, in batches of 50 on 8 connections."""
    accepted = [0] * 8
    end = time.perf_counter() + seconds

    def post(place: int) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            number = 0
            while time.perf_counter() < end:
                events = [
                    {"event_id": f"{place}-{number}-{n}", "user_id": number % 1000, "item_id": n}
                    for n in range(50)
                ]
                answer = client.post("/v1/events", json={"events": events})
                accepted[place] += answer.json()["accepted"]
                number += 1

    threads = [threading.Thread(target=post, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"events_per_second": round(sum(accepted) / seconds), "batch": 50, "connections": 8}


if __name__ == "__main__":
    main()
