"""Deadlines of calls, whatever the connections of others do."""

from __future__ import annotations

import socket
import time
from types import SimpleNamespace
from typing import Any

from twotower.data.readers.deadlines import Deadlines


class OddDriver:
    """A connection that cannot be shut down, for a reason of its own."""

    def fileno(self) -> int:
        raise RuntimeError("no such thing")


def connection(driver: object) -> Any:
    return SimpleNamespace(connection=SimpleNamespace(driver_connection=driver))


def test_a_connection_that_cannot_be_shut_down_takes_no_deadline_from_others() -> None:
    deadlines = Deadlines(0.2)
    with deadlines.limit(connection(OddDriver())):
        time.sleep(0.6)
    ours, theirs = socket.socketpair()
    with ours, theirs, deadlines.limit(connection(ours)):
        ours.settimeout(10)
        start = time.monotonic()
        assert ours.recv(1) == b""  # shut down: at its end
        assert time.monotonic() - start < 5


def test_a_call_in_time_keeps_its_connection() -> None:
    deadlines = Deadlines(0.3)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with deadlines.limit(connection(ours)):
            pass
        time.sleep(0.6)
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"
