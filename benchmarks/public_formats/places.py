"""Check-ins: Gowalla and Foursquare."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from benchmarks.public_formats.expectation import NAME_COLUMNS, Understood, name_columns
from benchmarks.public_formats.log import ITEMS, USERS, hexadecimal, make_log
from benchmarks.public_formats.writers import write_joined


def gowalla(folder: Path) -> Understood:
    """`loc-gowalla_totalCheckins.txt`: user, time, latitude, longitude, place; tabs, no header,
    the newest first."""
    log = make_log(39, repeats=True)
    users = [str(u) for u in range(USERS)]
    items = [str(22_847 + 411 * i) for i in range(ITEMS)]
    table = []
    for u, i, second in reversed(
        list(zip(log.user.tolist(), log.item.tolist(), log.seconds.tolist(), strict=True))
    ):
        time = datetime.fromtimestamp(second, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        table.append((users[u], time, f"{30.2 + i / 37:.10f}", f"{-97.7 - i / 41:.10f}", items[i]))
    write_joined(folder / "loc-gowalla_totalCheckins.txt", table, "\t")
    return Understood(
        interactions="loc-gowalla_totalCheckins.txt",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds()),
        user_id=(0,),
        timestamp=(1,),
        item_id=(4,),
        features={"log.2": "item out", "log.3": "item out"},
        edit=name_columns("user_id", "timestamp", "latitude", "longitude", "item_id"),
        asks=NAME_COLUMNS,
    )


def foursquare(folder: Path) -> Understood:
    """`dataset_TSMC2014_NYC.txt`: tabs, no header, Latin-1, `Tue Apr 03 18:00:09 +0000 2012`."""
    log = make_log(40, repeats=True)
    users = [str(470 + u) for u in range(USERS)]
    items = [hexadecimal(i, 24) for i in range(ITEMS)]
    kinds = ("Arts & Crafts Store", "Café", "Bridge", "Home (private)")
    table = []
    for u, i, second in zip(
        log.user.tolist(), log.item.tolist(), log.seconds.tolist(), strict=True
    ):
        time = datetime.fromtimestamp(second, tz=UTC).strftime("%a %b %d %H:%M:%S +0000 %Y")
        kind = hexadecimal(900 + i % 4, 24)
        place = (40.719810375488535 + i / 100, -74.00258103213994 - i / 100)
        table.append((users[u], items[i], kind, kinds[i % 4], *place, -240, time))
    write_joined(folder / "dataset_TSMC2014_NYC.txt", table, "\t", encoding="latin-1")
    return Understood(
        interactions="dataset_TSMC2014_NYC.txt",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds()),
        user_id=(0,),
        item_id=(1,),
        timestamp=(7,),
        features={
            "log.2": "item out",
            "log.3": "item out",
            "log.4": "item out",
            "log.6": "out",
        },
        edit=name_columns(
            "user_id", "item_id", "kind_id", "kind", "latitude", "longitude", "zone", "timestamp"
        ),
        asks=NAME_COLUMNS,
    )
