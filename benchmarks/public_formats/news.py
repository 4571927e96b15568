"""News: MIND and Adressa."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.public_formats.expectation import Refused, Understood
from benchmarks.public_formats.log import ITEMS, USERS, hexadecimal, make_log, title
from benchmarks.public_formats.writers import write_csv, write_joined, write_json_lines


def write_news(path: Path, items: list[str]) -> None:
    """`news.tsv`: no header; entities as JSON in the last two cells, quotes that enclose none."""
    kinds = (("lifestyle", "lifestyleroyals"), ("sports", "football_nfl"), ("health", "weightloss"))
    table = []
    for i, number in enumerate(items):
        entities = json.dumps(
            [{"Label": title(i), "Type": "P", "WikidataId": f"Q{80_976 + i}", "Confidence": 1.0}]
        )
        name = (
            f'"{title(i)}" is back, and 12" taller'
            if i % 5 == 3
            else f"The {title(i)} readers want"
        )
        address = f"https://assets.msn.com/labs/mind/AAGH{i:03}.html"
        table.append(
            (
                number,
                *kinds[i % 3],
                name,
                f"About {title(i)}." if i % 8 else "",
                address,
                entities if i % 3 else "[]",
                "[]",
            )
        )
    write_joined(path, table, "\t")


def mind(folder: Path) -> Refused:
    """`behaviors.tsv`: an impression a row, its history and its news each a list in one cell."""
    log = make_log(36)
    items = [f"N{55_528 + i}" for i in range(ITEMS)]
    table = []
    for row, (u, i, second) in enumerate(
        zip(log.user.tolist(), log.item.tolist(), log.seconds.tolist(), strict=True)
    ):
        time = datetime.fromtimestamp(second, tz=UTC).strftime("%-m/%-d/%Y %-I:%M:%S %p")
        history = " ".join(items[(i + step) % ITEMS] for step in range(3, 9)) if row % 20 else ""
        shown = f"{items[i]}-1 {items[(i + 1) % ITEMS]}-0 {items[(i + 2) % ITEMS]}-0"
        table.append((row + 1, f"U{13_740 + u}", time, history, shown))
    write_joined(folder / "behaviors.tsv", table, "\t")
    write_news(folder / "news.tsv", items)
    return Refused("behaviors.tsv", items="news.tsv", cause=r"(?i)list|several|impressions")


def mind_clicks(folder: Path) -> Understood:
    """Clicks taken out of `behaviors.tsv`, a row each, with `news.tsv` as it is."""
    log = make_log(37)
    users = [f"U{13_740 + u}" for u in range(USERS)]
    items = [f"N{55_528 + i}" for i in range(ITEMS)]
    table = []
    for u, i, second in zip(
        log.user.tolist(), log.item.tolist(), log.seconds.tolist(), strict=True
    ):
        time = datetime.fromtimestamp(second, tz=UTC).strftime("%-m/%-d/%Y %-I:%M:%S %p")
        table.append((users[u], items[i], time))
    write_csv(folder / "clicks.csv", table, header=["user_id", "news_id", "time"])
    write_news(folder / "news.tsv", items)
    return Understood(
        interactions="clicks.csv",
        items="news.tsv",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds()),
        user_id=("user_id",),
        item_id=("news_id",),
        timestamp=("time",),
        num_items=ITEMS,
        features={
            "item.1": "category",
            "item.2": "category",
            "item.3": "text",
            "item.4": "text",
            "item.5": "out",
            "item.6": "out",
            "item.7": "out",
        },
    )


def adressa(folder: Path) -> Understood:
    """A day's file without an ending: JSON Lines, nested profiles, keys missing in some lines."""
    log = make_log(38, repeats=True)
    users = [f"cx:{2_654_435_761 * (u + 1):013x}:u{u}" for u in range(USERS)]
    items = [hexadecimal(i, 40) for i in range(ITEMS)]
    events = []
    for row, (u, i, second) in enumerate(
        zip(log.user.tolist(), log.item.tolist(), log.seconds.tolist(), strict=True)
    ):
        event = {
            "eventId": 1_478_304_163 + row,
            "time": second,
            "userId": users[u],
            "id": items[i],
            "url": f"http://adressa.no/nyheter/{title(i).replace(' ', '-').lower()}-{i}.html",
            "title": f"{title(i)} på Sør-Trøndelag",
            "publishtime": f"2011-12-{1 + i % 28:02}T08:00:00.000Z",
            "profile": [{"item": "drammen", "groups": [{"group": "location", "weight": 0.5}]}],
            "deviceType": ("Mobile", "Desktop", "Tablet")[row % 3],
            "os": ("Android", "Windows", "iPhone OS")[row % 3],
            "city": ("trondheim", "oslo")[u % 2],
            "sessionStart": row % 5 == 0,
            "sessionStop": row % 5 == 4,
        }
        if row % 3:
            event["activeTime"] = 3 + row % 200
        events.append(event)
    write_json_lines(folder / "20170101", events)
    return Understood(
        interactions="20170101",
        rows=log.rows(users, items, nanoseconds=log.nanoseconds()),
        user_id=("userId",),
        item_id=("id",),
        timestamp=("time",),
        features={"log.activeTime": "out", "log.profile": "out", "log.eventId": "out"},
        edit=("data.columns.item_id='id'",),
        asks="item_id.*['\"]id['\"]",
    )
