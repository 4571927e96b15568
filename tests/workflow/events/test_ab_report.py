"""A report on an experiment, from what the service logged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from twotower.errors import DataError
from twotower.serving.store.experiments import ABExperiment, ExperimentVariant
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import Deployment, EventStore, Impression, StoredEvent
from twotower.workflow.events.ab_report import find_period, render_experiment, report_experiment

EXPERIMENT = ABExperiment(
    "layout", (ExperimentVariant("a", "v1", 0.5), ExperimentVariant("b", "v2", 0.5))
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = open_store(tmp_path / "events.db")
    yield opened
    opened.close()


def start(store: EventStore, experiment: ABExperiment | None = EXPERIMENT) -> int:
    """When it was started."""
    now = replace(store.deployment(), experiment=experiment)
    return store.change_deployment(now).changed


def answer(number: int, user: str, time: int, variant: str | None = None) -> Impression:
    variant = EXPERIMENT.assign(user).name if variant is None else variant
    return Impression(f"r{number}", user, ("i",), "v", "known", time, variant=variant)


def test_a_planted_difference_is_found(store: EventStore) -> None:
    began = start(store)
    rng = np.random.default_rng(0)
    users = [f"u{number}" for number in range(2000)]
    store.log_impressions(
        [
            answer(2 * n + turn, user, began + turn)
            for n, user in enumerate(users)
            for turn in (0, 1)
        ]
    )
    rates = {"a": 0.1, "b": 0.2}
    buyers = [user for user in users if rng.random() < rates[EXPERIMENT.assign(user).name]]
    store.append([StoredEvent(f"e{user}", user, "i", began + 5, "buy") for user in buyers])
    store.append([StoredEvent(f"c{user}", user, "i", began + 5, "click") for user in users])
    report = report_experiment(store, event_types=["buy"])
    first, second = report.results
    assert first.users + second.users == 2000
    assert first.converted + second.converted == len(buyers)
    assert (first.answers, first.events) == (2 * first.users, first.converted)
    assert second.conversion_gain is not None
    assert second.conversion_gain.p_value < 1e-6
    assert second.conversion_gain.difference.low < 0.1 < second.conversion_gain.difference.high
    assert report.notes == []
    assert report.period.end is None
    everything = report_experiment(store)
    assert [result.conversion.value for result in everything.results] == [1.0, 1.0]


def test_what_is_not_the_experiments_is_not_counted(store: EventStore) -> None:
    began = start(store)
    user = next(f"u{n}" for n in range(100) if EXPERIMENT.assign(f"u{n}").name == "a")
    other = next(f"u{n}" for n in range(100) if EXPERIMENT.assign(f"u{n}").name == "b")
    store.log_impressions(
        [
            answer(1, user, began - 10),  # before it began
            answer(2, user, began + 2),
            answer(3, user, began + 3, "b"),  # asked for by the request
            replace(answer(4, user, began + 3), variant=None),
            replace(answer(5, user, began + 3), user_id=None),
            answer(6, other, began + 2),
        ]
    )
    store.append(
        [
            StoredEvent("e1", user, "i", began + 1),  # before the first answer
            StoredEvent("e2", user, "i", began + 2),
            StoredEvent("e3", user, "i", began + 9),
            StoredEvent("e4", "never-answered", "i", began + 9),
        ]
    )
    report = report_experiment(store, "layout")
    assert [(one.users, one.answers, one.events) for one in report.results] == [
        (1, 1, 2),
        (1, 1, 0),
    ]
    assert (report.mixed, report.chosen) == (0, 1)
    assert report.notes == ["1 answers are excluded: the request set their variant"]


def test_users_who_moved_when_the_shares_changed_are_left_out(store: EventStore) -> None:
    began = start(store)
    grown = ABExperiment(
        "layout", (ExperimentVariant("a", "v1", 0.9), ExperimentVariant("b", "v2", 0.1))
    )
    start(store, grown)
    users = [f"u{number}" for number in range(200)]
    store.log_impressions([answer(n, user, began) for n, user in enumerate(users)])
    store.log_impressions(
        [answer(1000 + n, user, began + 1, grown.assign(user).name) for n, user in enumerate(users)]
    )
    moved = sum(EXPERIMENT.assign(user).name != grown.assign(user).name for user in users)
    report = report_experiment(store)
    assert report.mixed == moved > 20
    assert sum(one.users for one in report.results) == 200 - moved
    assert report.sample_ratio_p_value is None
    assert report.notes == [
        "the shares were changed; users who moved to another variant are excluded",
        f"{moved} users got answers of several variants and are excluded",
    ]


def test_users_that_are_missing_are_told(store: EventStore) -> None:
    began = start(store)
    users = [f"u{number}" for number in range(1000)]
    kept = [user for n, user in enumerate(users) if EXPERIMENT.assign(user).name == "a" or n % 2]
    store.log_impressions([answer(n, user, began) for n, user in enumerate(kept)])
    [note] = report_experiment(store).notes
    assert note.startswith("the numbers of users do not match the shares (p = ")
    assert note.endswith(
        "): answers or events of a variant are missing; find the cause before you rely on this "
        "comparison"
    )
    assert note in " ".join(shown(store).split())


def shown(store: EventStore) -> str:
    output = StringIO()
    Console(file=output, width=80).print(render_experiment(report_experiment(store)))
    return output.getvalue()


def test_the_tables(store: EventStore) -> None:
    began = start(store)
    users: dict[str, list[str]] = {"a": [], "b": []}
    for number in range(60):
        users[EXPERIMENT.assign(f"u{number}").name].append(f"u{number}")
    chosen = [*users["a"][:20], *users["b"][:20]]
    store.log_impressions([answer(n, user, began) for n, user in enumerate(chosen)])
    buyers = [*users["a"][:2], *users["b"][:5]]
    store.append([StoredEvent(user, user, "i", began) for user in buyers])
    lines = [" ".join(line.split()) for line in shown(store).splitlines()]
    assert lines[0] == "Experiment layout (any event)"
    assert lines.count("variant users value 95% interval gain 95% interval p") == 2
    # Wilson: scipy's binomtest; Newcombe from these; Fisher's test; the delta method by hand.
    assert "a 20 0.1000 0.0279 to 0.3010" in lines
    assert "b 20 0.2500 0.1119 to 0.4687 +0.1500 -0.0939 to +0.3803 0.407" in lines
    assert "b 20 0.2500 0.0553 to 0.4447 +0.1500 -0.0869 to +0.3869 0.215" in lines


def test_a_user_who_was_forgotten_is_not_counted(store: EventStore) -> None:
    began = start(store)
    store.log_impressions([answer(1, "u1", began), answer(2, "u2", began)])
    store.forget_user("u1")
    assert sum(one.users for one in report_experiment(store).results) == 1


def test_the_json_has_no_nan(store: EventStore) -> None:
    start(store)
    document = report_experiment(store).to_json()
    json.dumps(document, allow_nan=False)
    assert document["unit"] == "user"
    assert [arm["name"] for arm in document["variants"]] == ["a", "b"]
    assert document["variants"][0]["conversion"] == {"value": None, "low": None, "high": None}


# --- when it ran --------------------------------------------------------------------------------


def deployments(*experiments: ABExperiment | None) -> list[Deployment]:
    return [
        Deployment(place, "v", None, experiment, changed=10 * place)
        for place, experiment in enumerate(experiments)
    ]


def test_the_last_run_of_a_name() -> None:
    other = replace(EXPERIMENT, name="price")
    history = deployments(None, EXPERIMENT, None, other, EXPERIMENT, EXPERIMENT, None, None)
    period = find_period(history, "layout")
    assert (period.start, period.end, period.earlier) == (40, 60, ())
    assert find_period(history, None) == period
    assert (find_period(history, "price").start, find_period(history, "price").end) == (30, 40)


def test_no_experiment() -> None:
    with pytest.raises(DataError) as caught:
        find_period(deployments(None, None), None)
    assert str(caught.value) == "no experiment was run yet. Fix: start one on the service."
    with pytest.raises(DataError) as caught:
        find_period(deployments(None, EXPERIMENT), "layouts")
    assert str(caught.value) == (
        "no experiment 'layouts' was run, did you mean 'layout'? There are: layout."
    )
