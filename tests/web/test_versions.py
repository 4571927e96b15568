"""Versions: the gate, swaps under load, rollback, the pointer of a folder, experiments, workers."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.web.conftest import Serve
from tests.web.server import Server, ids
from twotower.serving.answer.recommender import Recommender
from twotower.serving.store.experiments import ABExperiment, ExperimentVariant
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import Impression
from twotower.web import wire
from twotower.web.service import freeze_garbage_collector

USERS = [f"u{n:05}" for n in range(0, 60, 3)]
SWAPS = 24


@pytest.fixture(scope="module")
def expected(trained: Path) -> dict[str, dict[str, list[str]]]:
    """Version -> user -> the items that this version gives."""
    found = {}
    for version in ("one", "two"):
        answers = Recommender.load(trained / version).recommend(USERS, 8)
        found[version] = {
            user: [str(item.item_id) for item in answer.items]
            for user, answer in zip(USERS, answers, strict=True)
        }
    assert all(found["one"][user] != found["two"][user] for user in USERS)
    return found


def activate(server: Server, version: str, *, force: bool = True) -> Any:
    return server.post(f"/v1/models/{version}:activate", {"force": force})


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- one version after another ---


def test_the_gate_refuses_a_version_that_is_worse(server: Server) -> None:
    code, message = server.refused("POST", "/v1/models/bad:activate", 409)
    assert code == "gate_refused"
    listed = {model["version"]: model for model in server.get("/v1/models")["models"]}
    figures = {name: listed[name]["metrics"]["ndcg@10"] for name in ("bad", "one")}
    assert message == (
        f"version 'bad' has ndcg@10 = {figures['bad']:.4f}, which is more than 5% below the active "
        f"version's {figures['one']:.4f}"
    )
    assert server.get("/v1/model")["version"] == "one"
    forced = activate(server, "bad")
    wire.ActivateAnswer.model_validate(forced)
    assert forced["gate"]["passed"] is False
    assert (forced["active"], forced["previous"]) == ("bad", "one")
    back = server.post("/v1/models:rollback")
    assert (back["active"], back["previous"], back["gate"]) == ("one", None, None)
    assert server.get("/v1/model")["version"] == "one"


def test_a_version_that_is_not_there_is_refused(server: Server) -> None:
    code, message = server.refused("POST", "/v1/models/onne:activate", 404)
    assert code == "not_found"
    assert message.startswith("no such version, did you mean 'one'? There are: ")
    for trick in ("..%2Fone", ".", "%2e%2e", "..%5Cone", "one%00", "%2Fetc%2Fpasswd"):
        path = f"/v1/models/{trick}:activate"
        code, _ = server.refused("POST", path, 422 if "%00" in trick else 404)
        assert code in ("not_found", "invalid_request")


def test_a_damaged_version_is_refused_and_the_active_one_goes_on(server: Server) -> None:
    broken = server.source / "broken"
    broken.mkdir()
    (broken / "manifest.json").write_text('{"format": 1, "files": {"gone": {}}}')
    code, message = server.refused("POST", "/v1/models/broken:activate", 409)
    assert code == "conflict"
    assert message.endswith("broken/gone: is missing from the bundle.")
    assert server.recommend(USERS[0])["model_version"] == "one"
    (broken / "manifest.json").unlink()


def test_items_put_before_a_swap_are_there_after_it(server: Server) -> None:
    columns = {"title": "Solaris", "genres": ["science"], "price": 4.0}
    server.put("/v1/items", {"items": [{"item_id": "solaris", "columns": columns}]})
    server.delete("/v1/items/i00013")
    activate(server, "two")
    only = {"column": "title", "equals": "Solaris"}
    found = server.recommend(USERS[0], filter=only)
    assert (ids(found), found["model_version"]) == (["solaris"], "two")
    assert server.refused("GET", "/v1/items/i00013", 404)[0] == "not_found"
    activate(server, "one")
    assert ids(server.recommend(USERS[0], filter=only)) == ["solaris"]
    server.delete("/v1/items/solaris")
    item = {"item_id": "i00013", "columns": {"title": "again", "price": 1.0}}
    server.put("/v1/items", {"items": [item]})


def test_a_batch_is_answered_by_one_version(server: Server) -> None:
    asks = {"requests": [{"user_id": user, "k": 1} for user in USERS * 10]}
    answers = server.post("/v1/recommendations:batch", asks)["answers"]
    assert {answer["model_version"] for answer in answers} == {"one"}


def test_the_pointer_of_the_folder_activates_what_it_names(serve: Serve) -> None:
    # Two trainings that differ by their seed may be a few percent apart; `bad` is nowhere near.
    server = serve("--gate-drop", "0.5")
    pointer = server.source / "current"
    assert pointer.read_text() == "one\n"
    aside = server.source / ".aside"
    aside.write_text("two\n")
    aside.replace(pointer)
    until(lambda: bool(server.get("/v1/model")["version"] == "two"))
    activate(server, "one")
    assert pointer.read_text() == "one\n"
    aside.write_text("bad\n")
    aside.replace(pointer)
    until(lambda: "version_not_activated" in server.log_text())
    assert server.get("/v1/model")["version"] == "one"
    server.source.joinpath("current").write_text("one\n")


# --- under load ---


def test_swaps_under_load_fail_no_request_and_mix_no_answer(
    serve: Serve, expected: dict[str, dict[str, list[str]]]
) -> None:
    server = serve("--gate-drop", "1")
    stop = threading.Event()
    outcomes: list[list[str]] = [[], []]
    threads = [
        threading.Thread(target=ask_until, args=(server, expected, stop, kept)) for kept in outcomes
    ]
    for thread in threads:
        thread.start()
    files = 0
    for number in range(SWAPS):
        activate(server, ("two", "one")[number % 2], force=False)
        if number == SWAPS // 2:
            files = open_files(server)
    stop.set()
    for thread in threads:
        thread.join(30)
    found = [outcome for kept in outcomes for outcome in kept]
    assert set(found) == {"one", "two"}, "an answer failed, or is of neither version"
    assert len(found) > SWAPS
    assert open_files(server) <= files + 2


def ask_until(server: Server, expected: Any, stop: threading.Event, kept: list[str]) -> None:
    """Note of each answer the version that all of it is from, or what is wrong with it."""
    with httpx.Client(base_url=server.client.base_url, timeout=30, verify=False) as client:
        while not stop.is_set():
            for user in USERS:
                answer = client.post("/v1/recommendations", json={"user_id": user, "k": 8})
                if answer.status_code != 200:
                    kept.append(answer.text)
                    continue
                version = answer.json()["model_version"]
                same = ids(answer.json()) == expected[version][user]
                kept.append(version if same else f"mixed: {answer.text}")


def open_files(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))  # noqa: PTH208


# --- experiments ---


def test_an_experiment_answers_each_user_by_the_variant_of_a_stable_hash(
    server: Server, expected: dict[str, dict[str, list[str]]]
) -> None:
    arms = [("control", "one", 0.5), ("new", "two", 0.5)]
    experiment = ABExperiment("towers", tuple(ExperimentVariant(*arm) for arm in arms))
    document = {
        "name": "towers",
        "variants": [{"name": n, "version": v, "share": s} for n, v, s in arms],
    }
    started = server.put("/v1/experiment", document)
    wire.ExperimentAnswer.model_validate(started)
    assert started["experiment"] == document
    seen = set()
    for user in USERS:
        arm = experiment.assign(user)
        found = server.recommend(user, k=8, exclude=["i00013"])
        assert (found["variant"], found["model_version"]) == (arm.name, arm.version)
        seen.add(arm.name)
    assert seen == {"control", "new"}
    told = server.recommend(USERS[0], variant="new", k=8)
    assert (told["variant"], told["model_version"]) == ("new", "two")
    assert server.recommend()["variant"] is None
    code, message = server.refused(
        "POST", "/v1/recommendations", 422, json={"user_id": "u1", "variant": "neww"}
    )
    assert (code, message) == (
        "invalid_request",
        "column 'variant': no such variant runs, did you mean 'new'? There are: control, new.",
    )
    assert server.delete("/v1/experiment")["experiment"] is None
    assert {server.recommend(user)["variant"] for user in USERS} == {None}


def test_requests_that_are_answered_together_each_get_their_own_variant(
    serve: Serve, expected: dict[str, dict[str, list[str]]]
) -> None:
    """As one batch, and as single requests at once, which share a batch inside the service. Two of
    the variants share a version. On a server of its own: items that were put change answers."""
    server = serve()
    arms = [("control", "one", 0.3), ("new", "two", 0.3), ("same", "one", 0.4)]
    experiment = ABExperiment("mixed", tuple(ExperimentVariant(*arm) for arm in arms))
    variants = [{"name": n, "version": v, "share": s} for n, v, s in arms]
    server.put("/v1/experiment", {"name": "mixed", "variants": variants})
    version_of = {name: version for name, version, _ in arms}
    requests: list[dict[str, Any]] = [
        {"user_id": user, "k": k, **variant}
        for user in USERS
        for k, variant in zip(
            (8, 5, 3, 8), ({}, *({"variant": name} for name in version_of)), strict=True
        )
    ]
    random.Random(0).shuffle(requests)
    batch = server.post("/v1/recommendations:batch", {"requests": requests})["answers"]
    with ThreadPoolExecutor(16) as pool:
        single = list(pool.map(lambda body: alone(server, "/v1/recommendations", body), requests))
    assert len(batch) == len(single) == len(requests)
    for request, *answers in zip(requests, batch, single, strict=True):
        user = request["user_id"]
        variant = request.get("variant", experiment.assign(user).name)
        version = version_of[variant]
        for answer in answers:
            assert (answer["user_id"], answer["variant"], answer["model_version"]) == (
                user,
                variant,
                version,
            )
            assert ids(answer) == expected[version][user][: request["k"]]
    server.delete("/v1/experiment")
    with closing(open_store(server.events)) as store:

        def stored() -> dict[str, Impression]:
            return {one.request_id: one for _, one in store.impressions_after(0, 100_000)}

        until(lambda: all(answer["request_id"] in stored() for answer in [*batch, *single]))
        impressions = stored()
        for answer in [*batch, *single]:
            impression = impressions[answer["request_id"]]
            assert (impression.user_id, impression.variant, impression.model_version) == (
                answer["user_id"],
                answer["variant"],
                answer["model_version"],
            )
            assert list(impression.item_ids) == ids(answer)


@pytest.mark.parametrize(
    ("variants", "status"),
    [
        ([("a", "one", 0.5)], 422),
        ([("a", "one", 0.5), ("a", "two", 0.5)], 422),
        ([("a", "one", 0.5), ("b", "none", 0.5)], 404),
        ([("a", "one", 1.5)], 422),
    ],
)
def test_a_wrong_experiment_is_refused(server: Server, variants: Any, status: int) -> None:
    arms = [{"name": n, "version": v, "share": s} for n, v, s in variants]
    server.refused("PUT", "/v1/experiment", status, json={"name": "x", "variants": arms})
    assert server.get("/v1/experiment")["experiment"] is None


# --- several workers ---


@pytest.mark.slow
def test_workers_agree(serve: Serve) -> None:
    server = serve("--workers", "2", "--gate-drop", "1")
    for number in range(4):
        # Many at once, each on a connection of its own, so that both workers get some.
        user = f"pair-{number}"
        event = {"user_id": user, "item_id": "i00003"}
        assert alone(server, "/v1/events", event)["accepted"] == 1
        for found in many(server, {"user_id": user, "k": 120}):
            assert found["path"] == "history"
            assert "i00003" not in ids(found)
        version = ("two", "one")[number % 2]
        alone(server, f"/v1/models/{version}:activate", {})
        for found in many(server, {"user_id": user}):
            assert found["model_version"] == version
        item = {"item_id": f"pair-{number}", "columns": {"title": f"Pair {number}", "price": 1}}
        with httpx.Client(base_url=server.client.base_url, timeout=30, verify=False) as client:
            assert client.put("/v1/items", json={"items": [item]}).status_code == 200
        only = {"column": "title", "equals": f"Pair {number}"}
        for found in many(server, {"user_id": user, "filter": only}):
            assert ids(found)
    processes = {line["process"] for line in server.log() if line["event"] == "request"}
    assert len(processes) == 2
    text = httpx.get(f"{server.client.base_url}/metrics").text
    posted = 'twotower_requests_total{method="POST",route="/v1/events",status="200"} 4.0'
    assert posted in text


@pytest.mark.skipif(sys.platform != "linux", reason="others do not share out connections")
@pytest.mark.slow
def test_connections_are_shared_out(serve: Serve) -> None:
    server = serve("--workers", "2", only=("one",))
    while len({line["process"] for line in server.log() if line["event"] == "request"}) < 2:
        httpx.get(f"{server.client.base_url}/readyz")
    for _ in range(64):
        alone(server, "/v1/recommendations", {})
    posts = [line for line in server.log() if line.get("method") == "POST"]
    by_process = Counter(line["process"] for line in posts)
    assert len(by_process) == 2
    # By chance fewer than 12 of 64: once in three million.
    assert min(by_process.values()) >= 12
    command = [sys.executable, "-m", "twotower", "serve", str(server.source), "--workers", "2"]
    command += ["--port", str(server.port), "--events", str(server.events)]
    second = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert second.returncode != 0
    assert "Address already in use" in second.stderr


def test_what_is_held_no_more_is_let_go_of() -> None:
    class Held:
        itself: Held

    held = Held()
    held.itself = held
    seen = weakref.ref(held)
    try:
        freeze_garbage_collector()
        del held
        gc.collect()
        assert seen() is not None  # the collector passes over it
        freeze_garbage_collector()
        assert seen() is None
    finally:
        gc.unfreeze()


def many(server: Server, body: Any) -> list[Any]:
    """Answers to the same request, asked for by eight clients at once."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda _: alone(server, "/v1/recommendations", body), range(16)))


def alone(server: Server, path: str, body: Any) -> Any:
    with httpx.Client(base_url=server.client.base_url, timeout=30, verify=False) as client:
        answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()
