"""Keeping an event store in order: removing old events, backups."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.postgresql import running_server
from tests.processes import twotower
from tests.serving.store.test_postgres import empty_schema
from twotower.cli.events import seconds_of
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import Impression, StoredEvent

DAY = 86_400


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """An event a day of the last ten days, and an impression of each."""
    path = tmp_path / "events.sqlite"
    fill(str(path))
    return path


def fill(address: str) -> None:
    now = int(time.time())
    with closing(open_store(address)) as store:
        for age in range(10):
            at = now - age * DAY - 60
            store.append([StoredEvent(f"e{age}", f"u{age}", "i", at)])
            store.log_impressions([Impression(f"r{age}", f"u{age}", ("i",), "v", "known", at)])
        store.forget_user("u9")


def test_old_events_are_removed(events: Path) -> None:
    done = twotower("events", "prune", events, "--older-than", "5d")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Removed 4 events and 4 impressions.\n"
    with closing(open_store(events)) as store:
        assert [event.event_id for _, event in store.events_after(0)] == [f"e{n}" for n in range(5)]
        assert store.find_impression("r4") is not None
        assert store.find_impression("r5") is None
        assert [user.user_id for _, user in store.forgotten_after(0)] == ["u9"]
    again = twotower("events", "prune", events, "--older-than", "1w", "--json")
    assert '"events": 0, "impressions": 0' in again.stdout


def test_old_events_are_removed_from_postgresql() -> None:
    with running_server() as server, empty_schema(server) as address:
        fill(address)
        done = twotower("events", "prune", address, "--older-than", "5d")
        assert done.stdout == "Removed 4 events and 4 impressions.\n"
        refused = twotower("events", "backup", address, "--out", "copy.sqlite")
        assert refused.returncode == 1
        assert refused.stderr == (
            "error: only event stores in SQLite files are copied by this command. "
            "Fix: use pg_dump: the tables of the store are named twotower_*.\n"
        )


@pytest.mark.parametrize(("age", "seconds"), [("1d", DAY), ("90d", 90 * DAY), ("2w", 14 * DAY)])
def test_ages(age: str, seconds: int) -> None:
    assert seconds_of(age) == seconds


@pytest.mark.parametrize("age", ["", "0d", "-1d", "90", "1h", "1.5d", "d", "999999d"])
def test_what_is_not_an_age(age: str) -> None:
    with pytest.raises(typer.BadParameter, match="write days as 90d, weeks as 12w"):
        seconds_of(age)


def test_a_backup_is_whole_while_events_are_written(events: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    written: list[str] = []

    def write() -> None:
        with closing(open_store(events)) as store:
            while not stop.is_set():
                written.append(f"w{len(written)}")
                store.append([StoredEvent(written[-1], "u", "i", int(time.time()))])

    writer = threading.Thread(target=write)
    writer.start()
    copy = tmp_path / "backup.sqlite"
    try:
        while not written:
            time.sleep(0.01)
        done = twotower("events", "backup", events, "--out", copy)
    finally:
        stop.set()
        writer.join()
    assert (done.returncode, done.stderr) == (0, "")
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with closing(open_store(copy)) as store:
        found = {event.event_id for _, event in store.events_after(0, 100_000)}
        copied: list[Any] = [name for name in written if name in found]
        assert copied == written[: len(copied)]
        assert copied
        assert {f"e{number}" for number in range(9)} <= found
        assert store.counters().events == len(copied) + 10
        assert store.append([StoredEvent("new", "u", "i", 1)]) == ["accepted"]
    before = copy.read_bytes()
    again = twotower("events", "backup", events, "--out", copy)
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert copy.read_bytes() == before


def test_a_backup_where_nothing_can_be_written(events: Path, tmp_path: Path) -> None:
    done = twotower("events", "backup", events, "--out", tmp_path / "no" / "copy.sqlite")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert not (tmp_path / "no").exists()
