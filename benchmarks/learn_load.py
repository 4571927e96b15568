"""The service's answers while 50 learners take the course of the studio; about 7 minutes.

Good clients ask at a fixed rate, in turns alone and beside the learners, who compile steps and run
programs with pauses of a few seconds. All of them share the machine and its cores with the service.
Each learner has a loopback address of its own (Linux), because a service without keys trains once
at a time for each address.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson

from benchmarks.common import emit, parser
from benchmarks.hostile_load import ask_first, ask_then, in_threads, spawned, summary
from benchmarks.serve_load import build, percentiles, served
from twotower.course.contents import CourseStep, OptionField, steps

TIMEOUT = 120
PAUSE = (2.0, 8.0)
"""Seconds that a learner reads between two jobs: far fewer than a person."""


def learn(url: str, seconds: float, learners: int, results: Any) -> None:
    """All learners, each in a thread; the process of the learners."""
    end = time.perf_counter() + seconds
    times: list[float] = []
    ends: Counter[str] = Counter()

    def take_the_course(number: int) -> None:
        rng = random.Random(number)
        transport = httpx.HTTPTransport(local_address=f"127.0.1.{number + 1}")
        with httpx.Client(base_url=url, timeout=TIMEOUT, transport=transport) as client:
            for step in itertools.cycle(steps()):
                for path, body in jobs(step, rng):
                    time.sleep(rng.uniform(*PAUSE))
                    if time.perf_counter() > end:
                        return
                    start = time.perf_counter()
                    ends[last_event(client, path, body, end)] += 1
                    times.append(time.perf_counter() - start)

    in_threads([partial(take_the_course, number) for number in range(learners)])
    results.put((times, dict(ends)))


def jobs(step: CourseStep, rng: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    """Two compilations with random choices, and a program."""
    for _ in range(2):
        values = {
            field.name: rng.choice(field.options).value
            if isinstance(field, OptionField)
            else rng.randint(int(field.default), int(field.default) + 3)
            for field in step.fields
        }
        yield "/studio/api/course/compile", {"step": step.slug, "values": values}
    yield "/studio/api/course/run", {"step": step.slug, "number": 0}


def last_event(client: httpx.Client, path: str, body: dict[str, Any], end: float) -> str:
    """The kind of event that a job ends with, the status of an error, or `left` where the learner
    leaves before the job has ended."""
    kind = "nothing"
    try:
        with client.stream("POST", path, json=body) as answer:
            if answer.status_code != 200:
                return str(answer.status_code)
            for line in answer.iter_lines():
                if time.perf_counter() > end:
                    return "left"
                if line.startswith("data: "):
                    kind = str(orjson.loads(line[6:])["event"])
            return kind
    except httpx.HTTPError as error:
        return type(error).__name__


def p99(timed: Sequence[tuple[str, float]]) -> float:
    """Seconds that 99 % of the requests take at most."""
    return float(np.percentile([seconds for _, seconds in timed], 99))


def measure(url: str, options: Any) -> dict[str, Any]:
    """The good clients alone and beside the learners, in turns."""
    sizes = (options.users, options.items)
    spawned(ask_first, url, 5, options.rate, sizes)()
    alone: list[tuple[str, float]] = []
    beside: list[tuple[str, float]] = []
    failed: Counter[str] = Counter()
    waited: list[float] = []
    ends: Counter[str] = Counter()
    ratios = []
    for _ in range(options.rounds):
        times, failures = spawned(ask_first, url, options.seconds, options.rate, sizes)()
        learning = spawned(learn, url, options.seconds + 5, options.learners)
        time.sleep(5)
        more, more_failures = spawned(ask_then, url, options.seconds, options.rate, sizes)()
        learner_times, learner_ends = learning()
        ratios.append(p99(more) / p99(times))
        alone += times
        beside += more
        failed.update(failures)
        failed.update(more_failures)
        waited += learner_times
        ends.update(learner_ends)
    return {
        "alone": summary((alone, {})),
        "beside_learners": summary((beside, dict(failed))),
        "p99_ratio": round(p99(beside) / p99(alone), 2),
        "p99_ratio_median_of_rounds": round(float(np.median(ratios)), 2),
        "p99_ratio_by_round": [round(ratio, 2) for ratio in ratios],
        "learners": {"jobs": len(waited), "ended_with": dict(ends), **percentiles(waited)},
    }


def main() -> None:
    """Measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--learners", type=int, default=50)
    made.add_argument("--rounds", type=int, default=8)
    made.add_argument("--seconds", type=float, default=20, help="of each half of a round")
    made.add_argument("--rate", type=float, default=40, help="good requests per second")
    made.add_argument("--items", type=int, default=20_000)
    made.add_argument("--users", type=int, default=10_000)
    options = made.parse_args()
    folder = Path(tempfile.mkdtemp())
    build(folder / "bundles", options.items, options.users, 20 * options.users, 1)
    with served(folder, "--learn") as (url, _):
        measured = measure(url, options)
    result = {
        "protocol": "good clients at a fixed rate, in turns alone and beside learners, one machine",
        "configuration": {
            "items": options.items,
            "users": options.users,
            "learners": options.learners,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "good_requests_per_second": options.rate,
            "cores": os.cpu_count(),
        },
        **measured,
    }
    emit(result, "learn_load", save=options.save)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
