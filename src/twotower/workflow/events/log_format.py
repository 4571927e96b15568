"""How a log of interactions is written, so that what the service logged can continue it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from twotower.config import Config, DataConfig, TimeUnit
from twotower.data.columns import TIMESTAMP
from twotower.data.dataset.dataset import context_columns
from twotower.data.readers.format_detection import sniff
from twotower.data.readers.read_table import read_table
from twotower.data.readers.source_files import is_files, list_files
from twotower.data.tables.column_mapping import find_columns
from twotower.data.tables.derived_entities import entity_columns
from twotower.data.values.time_format import TimeFormat
from twotower.data.values.times import SECONDS_PER_DAY, recognise
from twotower.data.values.unix_times import EXCEL_EPOCH, PER_SECOND
from twotower.errors import Problems, without_password

ENDINGS: Final = {"csv": ".csv", "jsonl": ".jsonl", "parquet": ".parquet"}
SAMPLE: Final = 1000
"""Rows whose times are looked at."""


@dataclass(frozen=True)
class LogFormat:
    """The table that `data.interactions` names, as training reads it.

    Attributes:
        ending: of a file that continues it: `.csv`, `.jsonl` or `.parquet`.
        names: its columns that training reads, ours -> theirs.
        dtypes: their types, by our names; in CSV files all are text.
        times: some of its times as they are written; None without times.
        written: how they are written, where the config says so.
    """

    ending: str
    names: Mapping[str, str]
    dtypes: Mapping[str, pl.DataType]
    times: pl.Series | None
    written: TimeFormat | None

    @staticmethod
    def of(config: Config) -> LogFormat:
        """Read the first file of the log (the whole table of a database or of a lake).

        Raises:
            DataError: it cannot be read.
        """
        data = config.data
        shown = without_password(data.interactions)
        source, ending = data.interactions, ".parquet"
        if is_files(source):
            first = list_files(Path(source))[0]
            kind = sniff(first, data.format_of("interactions")).kind
            source, ending = str(first), ENDINGS[kind or "csv"]
        names: dict[str, str] = {}
        problems = Problems()

        def pick(there: list[str]) -> list[str]:
            context = (*context_columns(config), *entity_columns(data))
            names.update(find_columns(shown, there, data.columns, context, problems))
            return list(dict.fromkeys(names.values()))

        frame = read_table(source, format=data.format_of("interactions"), columns=pick)
        problems.refuse()
        times = frame[names[TIMESTAMP]].drop_nulls() if TIMESTAMP in names else None
        return LogFormat(
            ending,
            names,
            {ours: frame[theirs].dtype for ours, theirs in names.items()},
            None if times is None else times.head(SAMPLE),
            declared(data),
        )

    def write_times(self, seconds: pl.Series) -> pl.Series:
        """Seconds since 1970 (R,) as the log writes its times."""
        if self.times is None:
            return seconds
        dtype, moments = self.times.dtype, pl.from_epoch(seconds, time_unit="s")
        if dtype == pl.Date:
            return moments  # a date alone would lose the order of a day's events
        if isinstance(dtype, pl.Datetime):
            return in_zone(moments.cast(pl.Datetime(dtype.time_unit)), dtype.time_zone)
        written = self.written or recognise(self.times)[0]
        if written.format is not None:
            return moments.dt.strftime(written.format).cast(dtype)
        if written.kind == "iso":
            example = str(self.times[0])
            return moments.dt.strftime(iso_format(example)) + iso_zone(example)
        return in_unit(seconds, written.unit or "s").cast(dtype)


def declared(data: DataConfig) -> TimeFormat | None:
    """How times are written, where the config says so."""
    if data.time_format is not None:
        return TimeFormat("date", format=data.time_format)
    return None if data.time_unit is None else TimeFormat("unix", unit=data.time_unit)


def in_zone(moments: pl.Series, zone: str | None) -> pl.Series:
    """Times in UTC with a zone, or without one."""
    if zone is None:
        return moments
    return moments.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)


def in_unit(seconds: pl.Series, unit: TimeUnit) -> pl.Series:
    """Seconds since 1970 as numbers of a unit."""
    if unit == "excel":
        return seconds / SECONDS_PER_DAY + EXCEL_EPOCH
    return seconds * PER_SECOND[unit]


def iso_format(example: str) -> str:
    """The codes of ISO 8601 as an example is written, to the second, without the zone."""
    return "%Y-%m-%dT%H:%M:%S" if example[10:11] in ("T", "t") else "%Y-%m-%d %H:%M:%S"


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
