"""Plain logs in odd files: a byte-order mark, old line ends, compression, a folder by day, decimal
commas, a page in place of a table."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from pyarrow.lib import compress

from benchmarks.public_formats.expectation import Refused, Understood
from benchmarks.public_formats.log import ITEMS, USERS, Log, make_log, title
from benchmarks.public_formats.writers import csv_text, names, write_csv, write_lines

HEADER = ("user_id", "item_id", "timestamp")


def plain_rows(log: Log) -> tuple[list[str], list[str], list[tuple[str, str, int]]]:
    """The ids of users and items, and the rows."""
    users, items = [f"u{u}" for u in range(USERS)], [f"i{i:03}" for i in range(ITEMS)]
    columns = zip(log.user.tolist(), log.item.tolist(), log.seconds.tolist(), strict=True)
    return users, items, [(users[u], items[i], second) for u, i, second in columns]


def understood(name: str, log: Log, users: Sequence[str], items: Sequence[str]) -> Understood:
    """A log under our own names."""
    return Understood(
        interactions=name,
        rows=log.rows(users, items, nanoseconds=log.nanoseconds()),
        user_id=("user_id",),
        item_id=("item_id",),
        timestamp=("timestamp",),
    )


def byte_order_mark(folder: Path) -> Understood:
    """CSV as Excel writes it: UTF-8 with a byte-order mark, CRLF."""
    log = make_log(49)
    users, items, table = plain_rows(log)
    write_csv(folder / "clicks.csv", table, header=HEADER, encoding="utf-8-sig", end="\r\n")
    return understood("clicks.csv", log, users, items)


def carriage_returns(folder: Path) -> Understood:
    """CSV whose lines end in CR alone, quoted ids that hold quotes."""
    log = make_log(50)
    _, items, table = plain_rows(log)
    users = [f'"u{u}"' for u in range(USERS)]
    rows = [(f'"{user}"', item, second) for user, item, second in table]
    write_csv(folder / "clicks.csv", rows, header=HEADER, end="\r")
    return understood("clicks.csv", log, users, items)


def gzipped(folder: Path) -> Understood:
    """`clicks.csv.gz`."""
    log = make_log(51)
    users, items, table = plain_rows(log)
    text = csv_text(table, header=HEADER).encode()
    (folder / "clicks.csv.gz").write_bytes(gzip.compress(text))
    return understood("clicks.csv.gz", log, users, items)


def zstandard(folder: Path) -> Understood:
    """`clicks.csv.zst`."""
    log = make_log(52)
    users, items, table = plain_rows(log)
    packed = compress(csv_text(table, header=HEADER).encode(), codec="zstd", asbytes=True)
    (folder / "clicks.csv.zst").write_bytes(packed)
    return understood("clicks.csv.zst", log, users, items)


def hive_folder(folder: Path) -> Understood:
    """Parquet in `day=2012-01-05/` folders: no time but the day, which is in no file."""
    log = make_log(53)
    users, items, table = plain_rows(log)
    days = [datetime.fromtimestamp(second, tz=UTC).strftime("%Y-%m-01") for _, _, second in table]
    frame = pl.DataFrame(
        {
            "user_id": [row[0] for row in table],
            "item_id": [row[1] for row in table],
            "day": days,
        }
    )
    for (day,), rows in frame.group_by("day"):
        place = folder / "clicks" / f"day={day}"
        place.mkdir(parents=True)
        rows.drop("day").write_parquet(place / "part-0.parquet")
    midnights = [
        int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()) * 10**9 for day in days
    ]
    return Understood(
        interactions="clicks",
        rows=log.rows(users, items, nanoseconds=midnights),
        user_id=("user_id",),
        item_id=("item_id",),
        timestamp=("day",),
    )


def european_courses(folder: Path) -> Understood:
    """`Kursbuchungen`: semicolons, decimal commas, days first, prices as `1.234,50 €`, each file
    with a separator of its own."""
    log = make_log(54)
    users, items, table = plain_rows(log)
    minutes = [second // 60 * 60 for _, _, second in table]
    rows = [
        (user, item, datetime.fromtimestamp(minute, tz=UTC).strftime("%d.%m.%Y %H:%M"))
        for (user, item, _), minute in zip(table, minutes, strict=True)
    ]
    write_csv(
        folder / "buchungen.csv", rows, header=["user_id", "course_id", "booked_at"], separator=";"
    )
    courses = [
        (
            items[i],
            f"Einführung: {title(i)}",
            f"{i % 3 + 1}.2{i:02},50 €",
            f"{4},{i % 10}",
            f"IT > {('Daten', 'Web')[i % 2]} > Kurs {i % 4}",
        )
        for i in range(ITEMS)
    ]
    header = names("course_id titel preis dauer pfad")
    write_csv(folder / "kurse.csv", courses, header=header, separator="\t")
    return Understood(
        interactions="buchungen.csv",
        items="kurse.csv",
        rows=log.rows(users, items, nanoseconds=[minute * 10**9 for minute in minutes]),
        user_id=("user_id",),
        item_id=("course_id",),
        timestamp=("booked_at",),
        num_items=ITEMS,
        features={
            "item.titel": "text",
            "item.preis": "number",
            "item.dauer": "number",
            "item.pfad": "categories",
        },
    )


def preamble(folder: Path) -> Understood:
    """An export with a title and a blank line before the table."""
    log = make_log(55)
    users, items, table = plain_rows(log)
    text = csv_text(table, header=HEADER)
    text = f"Report: clicks of the shop\nExported 2014-01-05 by admin\n\n{text}"
    (folder / "clicks.csv").write_text(text, encoding="utf-8")
    return understood("clicks.csv", log, users, items)


def web_page(folder: Path) -> Refused:
    """A page of a log-in, saved as `clicks.csv`."""
    page = '<!DOCTYPE html>\n<html lang="en">\n<head><title>Sign in, please</title></head>\n'
    lines = [f"<p>user_id, item_id, timestamp {i}</p>" for i in range(40)]
    write_lines(folder / "clicks.csv", [*page.splitlines(), "<body>", *lines, "</body></html>"])
    return Refused("clicks.csv", cause=r"(?i)html|web page")
