"""Calls that share a transaction."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from tests.contracts.event_store_contract import event
from twotower.errors import StoreError
from twotower.serving.store.database import group_commit
from twotower.serving.store.database.group_commit import GroupCommit, PendingWrite


class Disk:
    """Notes the groups that are written; busy until it is let go on."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.free = threading.Event()
        self.started = threading.Event()

    def write(self, writes: Sequence[PendingWrite]) -> list[int]:
        self.started.set()
        assert self.free.wait(30)
        names = [entry.event_id for write in writes for entry in write.events]
        self.groups.append(names)
        if "e13" in names:
            raise ValueError("thirteen")
        if "e99" in names:
            raise StoreError("the disk is full.")
        return [len(write.events) for write in writes]


def submit(group: GroupCommit, *numbers: int) -> Future[Any]:
    write = PendingWrite(events=[event(number) for number in numbers])
    group.submit(write)
    return write.future


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def group(disk: Disk) -> GroupCommit:
    return GroupCommit(disk.write, "here.db")


def busy(group: GroupCommit, disk: Disk) -> Future[Any]:
    """A first call that the disk is busy with."""
    first = submit(group, 0)
    assert disk.started.wait(30)
    return first


def test_what_arrives_while_the_disk_is_busy_is_written_together(
    group: GroupCommit, disk: Disk
) -> None:
    first = busy(group, disk)
    others = [submit(group, 1), submit(group, 2, 3), submit(group, 4)]
    assert not any(call.done() for call in [first, *others])
    disk.free.set()
    assert [call.result(30) for call in [first, *others]] == [1, 1, 2, 1]
    assert disk.groups == [["e0"], ["e1", "e2", "e3", "e4"]]


def test_a_transaction_does_not_grow_without_end(
    group: GroupCommit, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_ROWS", 3)
    busy(group, disk)
    submit(group, 1, 2)
    submit(group, 3, 4)
    submit(group, 5, 6, 7, 8)
    disk.free.set()
    submit(group, 9).result(30)
    assert disk.groups == [["e0"], ["e1", "e2"], ["e3", "e4"], ["e5", "e6", "e7", "e8"], ["e9"]]


def test_small_writes_fill_a_transaction(
    group: GroupCommit, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_ROWS", 3)
    busy(group, disk)
    writes = [submit(group, number) for number in range(1, 6)]
    disk.free.set()
    assert [write.result(30) for write in writes] == [1] * 5
    assert disk.groups == [["e0"], ["e1", "e2", "e3"], ["e4", "e5"]]


def test_a_call_that_cannot_be_written_fails_alone(group: GroupCommit, disk: Disk) -> None:
    busy(group, disk)
    calls = [submit(group, 12), submit(group, 13), submit(group, 14)]
    disk.free.set()
    assert calls[0].result(30) == calls[2].result(30) == 1
    with pytest.raises(ValueError, match=r"^thirteen$"):
        calls[1].result(30)
    assert disk.groups == [["e0"], ["e12", "e13", "e14"], ["e12"], ["e13"], ["e14"]]


def test_a_database_that_cannot_be_used_fails_all_at_once(group: GroupCommit, disk: Disk) -> None:
    busy(group, disk)
    calls = [submit(group, 98), submit(group, 99)]
    disk.free.set()
    for call in calls:
        with pytest.raises(StoreError, match=r"^the disk is full\.$"):
            call.result(30)
    assert submit(group, 100).result(30) == 1
    assert disk.groups == [["e0"], ["e98", "e99"], ["e100"]]


def test_a_call_that_was_given_up_is_not_written(group: GroupCommit, disk: Disk) -> None:
    first = busy(group, disk)
    given_up, kept = submit(group, 1), submit(group, 2)
    assert given_up.cancel()
    assert not first.cancel()
    disk.free.set()
    assert kept.result(30) == 1
    assert disk.groups == [["e0"], ["e2"]]
    only = submit(group, 3)
    assert only.cancel() or only.result(30) == 1


def test_closing_writes_what_was_taken(group: GroupCommit, disk: Disk) -> None:
    busy(group, disk)
    calls = [submit(group, 1), submit(group, 2)]
    disk.free.set()
    group.close()
    group.close()
    assert [call.result(0) for call in calls] == [1, 1]
    with pytest.raises(StoreError, match=r"^here\.db: the event store is closed\.$"):
        submit(group, 3)


def test_closing_what_was_never_used(group: GroupCommit) -> None:
    group.close()
