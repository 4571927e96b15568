"""The verbs of the event store, as a person uses them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from twotower import cli
from twotower.config import load_config
from twotower.data.tables.tables import read_tables
from twotower.serving.store.experiments import ABExperiment, ExperimentVariant
from twotower.serving.store.keys import allows, find_key
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import Impression, StoredEvent

NOW = 1_700_000_000


class Shell:
    """Runs verbs in this process; a real one takes seconds to start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch = monkeypatch
        self.capsys = capsys
        monkeypatch.setattr(cli.service, "out", Console(width=300))
        monkeypatch.setattr(cli.service, "err", Console(width=300, stderr=True))
        monkeypatch.setattr(cli, "err", Console(width=300, stderr=True))

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        self.monkeypatch.setattr("sys.argv", ["twotower", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        code = caught.value.code
        assert isinstance(code, int | None)
        return code or 0, *self.capsys.readouterr()

    def json(self, *arguments: str | Path) -> dict[str, Any]:
        """The object that a verb prints."""
        code, out, _ = self(*arguments, "--json")
        assert code == 0
        document: dict[str, Any] = json.loads(out)
        return document


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.db"
    store = open_store(path)
    store.append([StoredEvent("e1", 1, "i1", NOW, weight=2.0), StoredEvent("e2", 2, "i1", NOW)])
    store.append([StoredEvent("e3", 3, "i1", NOW)])
    store.forget_user(3)
    store.close()
    return path


def test_exporting(run: Shell, events: Path, tmp_path: Path) -> None:
    config = tmp_path / "twotower.toml"
    config.write_text(
        '[data]\ninteractions = "log"\n[data.columns]\nuser_id = "userId"\n'
        '[features.context.device]\ntype = "category"\n'
    )
    pl.DataFrame(
        {"userId": [1], "item_id": ["a"], "timestamp": [NOW], "weight": [1.0], "device": ["tv"]}
    ).write_parquet(tmp_path / "log" / "0.parquet", mkdir=True)
    out = tmp_path / "log" / "1.parquet"
    exported = run.json(
        "export-events",
        events,
        *("--out", out, "--config", config, "--columns", "timestamp,weight"),
        *("--forgotten", tmp_path / "gone.parquet"),
    )
    assert exported == {
        "file": str(out),
        "rows": 2,
        "left_out": 0,
        "forgotten": 1,
        "columns": ["userId", "item_id", "timestamp", "weight", "device"],
        "empty": ["device"],
        "dropped": [],
        "unweighted": 1,
    }
    assert pl.read_parquet(out).rows() == [(1, "i1", NOW, 2.0, None), (2, "i1", NOW, 1.0, None)]
    assert pl.read_parquet(tmp_path / "gone.parquet")["user_id"].to_list() == ["3"]
    _, output, notes = run("export-events", events, "--out", out, "--columns", "weight,device")
    assert output == f"Wrote 2 events to {out}; excluded 0 events of forgotten users.\n"
    assert notes == (
        "note: 1 events without a weight got 1.\nnote: No event has a value of: device.\n"
    )


def test_exporting_into_the_folder_of_a_config(run: Shell, events: Path, tmp_path: Path) -> None:
    config = tmp_path / "twotower.toml"
    config.write_text('[data]\ninteractions = "log.csv"\n')
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp,weight\n7,i9,2023-05-01,3\n")
    code, _, problem = run("export-events", events, "--config", config)
    assert (code, problem) == (
        1,
        "error: the config does not say where exported tables are. Fix: set data.exported, such as "
        '"exported", or give --out FILE.\n',
    )
    config.write_text('[data]\ninteractions = "log.csv"\nexported = "new"\n')
    exported = run.json("export-events", events, "--config", config)
    assert exported["file"] == str(tmp_path / "new" / "interactions.csv")
    assert exported["items"] == {"items": 0, "changed": 0, "removed": 0}
    assert (tmp_path / "new" / "interactions.csv").read_text() == (
        "user_id,item_id,timestamp,weight,request_id,variant\n"
        "1,i1,2023-11-14 22:13:20,2.0,,\n"
        "2,i1,2023-11-14 22:13:20,1.0,,\n"
    )
    assert pl.read_parquet(tmp_path / "new" / "forgotten.parquet")["user_id"].to_list() == ["3"]
    tables = read_tables(load_config(config).data)
    assert tables.interactions.select("user_id", "timestamp").rows() == [
        (1, NOW),
        (2, NOW),
        (7, 1_682_899_200),
    ]


def test_a_store_that_is_not_there(run: Shell, events: Path) -> None:
    for verb in (["export-events", "--out", "x.parquet"], ["ab-report"], ["keys", "list"]):
        code, _, problem = run(*verb, events.with_name("event.db"))
        assert code == 1
        assert problem == (
            f"error: {events.parent}/event.db: no such event store, did you mean 'events.db'?\n"
        )
    assert not events.with_name("event.db").exists()


def test_keys_are_made_listed_and_revoked(run: Shell, tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    _, output, hint = run(
        *("keys", "create", path, "--name", "shop", "--scope", "read", "--scope", "write")
    )
    assert hint == "Save this key now; it is not shown again.\n"
    key = output.strip()
    made = run.json("keys", "create", path, "--name", "ops", "--scope", "admin")
    assert (made["name"], made["scopes"]) == ("ops", ["admin"])
    store = open_store(path)
    found = find_key(store, key)
    assert found is not None
    assert allows(found, "write")
    assert not allows(found, "admin")
    assert find_key(store, made["key"]) is not None
    assert run("keys", "revoke", path, "--name", "shop") == (0, "Revoked shop.\n", "")
    assert find_key(store, key) is None
    store.close()
    rows = run.json("keys", "list", path)["keys"]
    assert [(row["name"], row["revoked"] is None) for row in rows] == [
        ("ops", True),
        ("shop", False),
    ]
    _, listed, _ = run("keys", "list", path)
    assert "read, write" in listed
    assert key not in listed
    assert run("keys", "revoke", path, "--name", "shops") == (
        1,
        "",
        "error: no key is named 'shops', did you mean 'shop'? There are: ops, shop.\n",
    )


def test_a_report_of_an_experiment(run: Shell, events: Path) -> None:
    store = open_store(events)
    halves = ABExperiment(
        "layout", (ExperimentVariant("a", "v1", 0.5), ExperimentVariant("b", "v2", 0.5))
    )
    began = store.change_deployment(store.deployment().activated("v1")).changed
    store.change_deployment(replace(store.deployment(), experiment=halves))
    users = [f"u{number}" for number in range(100)]
    store.log_impressions(
        [
            Impression(f"r{u}", u, ("i",), "v", "known", began + 1, variant=halves.assign(u).name)
            for u in users
        ]
    )
    store.append([StoredEvent(f"b{user}", user, "i", began + 2, "buy") for user in users])
    store.close()
    told = run.json("ab-report", events, "--event-type", "buy")
    assert told["experiment"] == "layout"
    assert [arm["conversion"]["value"] for arm in told["variants"]] == [1.0, 1.0]
    assert sum(arm["users"] for arm in told["variants"]) == 100
    code, shown, _ = run("ab-report", events, "--experiment", "layout")
    assert code == 0
    assert "Experiment layout (any event)" in shown
    code, _, problem = run("ab-report", events, "--experiment", "lay")
    assert code == 1
    assert problem.startswith("error: no experiment 'lay' was run, did you mean 'layout'?")
