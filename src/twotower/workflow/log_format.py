"""How a log of interactions is written, so that what the service logged can continue it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from twotower.config import Config
from twotower.data.column_mapping import find_columns
from twotower.data.columns import TIMESTAMP
from twotower.data.dataset import context_columns
from twotower.data.derived_entities import entity_columns
from twotower.data.readers import kind_of, list_files, read_table
from twotower.data.times import PER_SECOND, to_times
from twotower.errors import without_password

ENDINGS: Final = {"CSV": ".csv", "TSV": ".csv", "JSON Lines": ".jsonl", "Parquet": ".parquet"}
SAMPLE: Final = 1000
"""Rows whose times are looked at."""
ISO: Final = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?)?( ?(Z|UTC|[+-]\d{2}:?\d{2}))?$"


@dataclass(frozen=True)
class LogFormat:
    """The table that `data.interactions` names, as training reads it.

    Attributes:
        ending: of a file that continues it: `.csv`, `.jsonl` or `.parquet`.
        names: its columns that training reads, ours -> theirs.
        dtypes: their types, by our names; in CSV files all are text.
        times: some of its times as they are written; None without times.
        time_format: `data.time_format`.
    """

    ending: str
    names: Mapping[str, str]
    dtypes: Mapping[str, pl.DataType]
    times: pl.Series | None
    time_format: str | None

    @staticmethod
    def of(config: Config) -> LogFormat:
        """Read the first file of the log (the whole table of a database).

        Raises:
            DataError: it cannot be read.
        """
        data = config.data
        shown = without_password(data.interactions)
        source, ending = data.interactions, ".parquet"
        if "://" not in source:
            first = list_files(Path(source))[0]
            source, ending = str(first), ENDINGS[kind_of(first)]
        names: dict[str, str] = {}

        def pick(there: list[str]) -> list[str]:
            context = (*context_columns(config), *entity_columns(data))
            names.update(find_columns(shown, there, data.columns, context))
            return list(dict.fromkeys(names.values()))

        frame = read_table(source, format=data.format_of("interactions"), columns=pick)
        times = frame[names[TIMESTAMP]].drop_nulls() if TIMESTAMP in names else None
        return LogFormat(
            ending,
            names,
            {ours: frame[theirs].dtype for ours, theirs in names.items()},
            None if times is None else times.head(SAMPLE),
            data.time_format,
        )

    def write_times(self, seconds: pl.Series) -> pl.Series:
        """Seconds since 1970 (R,) as the log writes its times."""
        if self.times is None:
            return seconds
        dtype = self.times.dtype
        moments = pl.from_epoch(seconds, time_unit="s")
        if isinstance(dtype, pl.Datetime):
            moments = moments.cast(pl.Datetime(dtype.time_unit))
            if dtype.time_zone is None:
                return moments
            return moments.dt.replace_time_zone("UTC").dt.convert_time_zone(dtype.time_zone)
        if dtype == pl.Date:
            return moments  # a date alone would lose the order of a day's events
        if self.time_format is not None:
            return moments.dt.strftime(self.time_format).cast(dtype)
        read = to_times(self.times)
        if read.unit is not None:
            return (seconds * PER_SECOND[read.unit]).cast(dtype)
        if read.format is not None:
            return moments.dt.strftime(read.format)
        return moments.dt.strftime(iso_format(str(self.times[0]))) + iso_zone(str(self.times[0]))


def iso_format(example: str) -> str:
    """The codes of ISO 8601 as an example is written, to the second, without the zone."""
    return "%Y-%m-%dT%H:%M:%S" if "T" in example.upper() else "%Y-%m-%d %H:%M:%S"


def iso_zone(example: str) -> str:
    """UTC as an example writes its zone; nothing where it has none."""
    found = re.search(r"(\s?)(Z|[A-Z][A-Za-z_/]+|[+-]\d{2}:?\d{2})$", example[10:])
    if found is None:
        return ""
    if found[2] == "Z":
        return "Z"
    if found[2][0] in "+-":
        return found[1] + ("+00:00" if ":" in found[2] else "+0000")
    return f"{found[1]}UTC"
