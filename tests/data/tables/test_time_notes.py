"""Times that are legal but doubtful are named."""

from __future__ import annotations

import time

import polars as pl
import pytest

from twotower.data.tables.time_notes import TimeSummary, time_notes
from twotower.data.values.times import to_times

NOW = int(time.time())


def notes(values: list[object], **keys: str) -> list[str]:
    times = to_times(pl.Series("ts", values), **keys)  # type: ignore[arg-type]
    return time_notes(TimeSummary.of(times), "log.csv", "ts", declared=bool(keys))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([NOW - 5, NOW + 90_000], []),
        (["2024-05-01T00:00:00Z"], []),
        (
            [0, 49],
            [
                "log.csv, column 'ts': whole numbers from 0 to 49 are read as an order; dates and "
                "ages cannot be derived from them."
            ],
        ),
        (
            [20240501, 20240503],
            [
                "log.csv, column 'ts': read as %Y%m%d, from 2024-05-01 to 2024-05-03 "
                "(data.time_format declares it)."
            ],
        ),
        (
            ["1969-01-01", "1989-12-31", "1990-01-01"],
            ["log.csv, column 'ts': 2 of 3 times are before 1990."],
        ),
        (
            [28_576_080, 28_576_081],
            [
                "log.csv, column 'ts': 2 of 2 times are before 1990. Set data.time_format or "
                "data.time_unit if they mean other times."
            ],
        ),
        (
            [NOW, NOW + 200_000],
            [
                "log.csv, column 'ts': 1 of 2 times are in the future; a split by time tests on "
                "them."
            ],
        ),
        ([None], []),
    ],
)
def test_doubtful_times_are_named(values: list[object], said: list[str]) -> None:
    assert notes(values) == said


def test_a_declared_format_needs_no_note() -> None:
    assert notes(["31/12/2023"], format="%d/%m/%Y") == []
    assert notes(["31/12/2023"]) == [
        "log.csv, column 'ts': read as %d/%m/%Y, from 2023-12-31 to 2023-12-31 "
        "(data.time_format declares it)."
    ]
