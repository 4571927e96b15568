"""Text to points in time: ISO 8601, declared formats, and common date formats."""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from typing import Final

import polars as pl

from twotower.data.values.time_format import TimeFormat, UnclearTimesError, name_rows
from twotower.errors import DataError, explain

_ISO: Final = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%S%#z",
    "%Y-%m-%d %H:%M:%S%#z",
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%d %H:%M%#z",
    "%Y-%m-%dT%H",
    "%Y-%m-%d %H",
    "%Y%m%dT%H%M%S",
    "%Y%m%dT%H%M%S%#z",
    "%Y-%m",
)
"""ISO 8601, also with a space for the T; the format may vary from value to value."""

_FRACTION: Final = r"(\d:\d\d:\d\d|T\d{6})[.,](\d+)"
_ZONE: Final = r"^(.*?\d)([+-]\d\d:?\d\d|Z)?\s*\[?([A-Z][A-Za-z]+(?:[/_+-][A-Za-z0-9_+-]+)*)\]?$"
"""Text that ends with the name of a time zone: the time, its offset, the name."""
_LOOKS_LIKE_DATE: Final = r"^(?i:[a-z]{3,9},? )?.{0,10}\d.{0,40}$"
_SAMPLE: Final = 100


def read_iso(text: pl.Series) -> tuple[pl.Series, pl.Series | None]:
    """ISO 8601 text as seconds (Int64) and nanoseconds (Int32); null for other text."""
    plain, nanoseconds = _without_fraction(text)
    seconds = _first_that_reads(plain, _ISO)
    left = seconds.is_null() & text.is_not_null()
    if left.any():
        rows = left.arg_true()
        rest = plain.gather(rows).str.replace(r"^(\d{4}\S{4,6})t(\d)", "${1}T${2}")
        seconds = seconds.scatter(rows, _with_zone_names(rest))
    return seconds, nanoseconds


def _first_that_reads(text: pl.Series, formats: tuple[str, ...]) -> pl.Series:
    """Seconds of each value, read in the first format that matches it."""
    wanted = text.str.contains(r"^\d{4}-?\d\d?").fill_null(False)
    seconds = pl.Series(text.name, [None], dtype=pl.Int64).new_from_index(0, len(text))
    for written in formats:
        rows = (wanted & seconds.is_null()).arg_true()
        if not len(rows):
            break
        if len(rows) == len(text):
            seconds = _parse(text, written)
        else:
            seconds = seconds.scatter(rows, _parse(text.gather(rows), written))
    return seconds


def _with_zone_names(text: pl.Series) -> pl.Series:
    """ISO 8601 text that may end with `UTC` or the name of a time zone, as seconds."""
    named = text.str.extract_groups(_ZONE).struct.unnest()
    times, offset, zones = named.to_series(0), named.to_series(1), named.to_series(2)
    plain = pl.select(
        pl.when(times.is_null()).then(text).otherwise(times + offset.fill_null(""))
    ).to_series()
    seconds = _first_that_reads(plain, _ISO)
    for zone in zones.filter(offset.is_null()).drop_nulls().unique():
        rows = ((zones == zone) & offset.is_null()).fill_null(False).arg_true()
        local = pl.from_epoch(seconds.gather(rows), "s")
        seconds = seconds.scatter(rows, _in_zone(local, zone))
    return seconds


def _in_zone(local: pl.Series, zone: str) -> pl.Series:
    """Times of a zone as seconds; null if the zone or the time does not exist. In the hour that is
    repeated when daylight saving time ends, times are read as the first of the two."""
    try:
        moved = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    except pl.exceptions.ComputeError:
        return pl.Series([None], dtype=pl.Int64).new_from_index(0, len(local))
    return moved.dt.epoch("s")


def _without_fraction(text: pl.Series) -> tuple[pl.Series, pl.Series | None]:
    """Text without fractions of seconds, and the fractions as nanoseconds; None if no value has
    one."""
    digits = text.str.extract(_FRACTION, 2)
    if digits.null_count() == len(digits):
        return text, None
    nanoseconds = digits.str.slice(0, 9).str.pad_end(9, "0").cast(pl.Int32)
    nanoseconds = nanoseconds.fill_null(0).set(text.is_null(), None)
    return text.str.replace(_FRACTION, "${1}"), nanoseconds if nanoseconds.max() else None


def _parse(text: pl.Series, written: str) -> pl.Series:
    """Seconds in one format, null for text that does not match."""
    if "%H" in written and "%M" not in written:
        text, written = text + ":00", written + ":%M"
    times = text.str.to_datetime(written, strict=False, time_unit="us", time_zone="UTC")
    return times.dt.epoch("s")


# --- a format for the whole column --------------------------------------------------------------


def read_format(
    text: pl.Series, written: str, column: pl.Series, *, file: str | None, keys: str
) -> tuple[pl.Series, pl.Series | None]:
    """Text in a declared format, or in ISO 8601 if it does not match, as seconds and nanoseconds.

    Raises:
        DataError: a format without a date, or a value that matches neither; names the first one.
    """
    plain, nanoseconds = text, None
    fraction = re.search(r"%S(\.%f|,%f|%\.\d?f)", written)
    if fraction:
        plain, nanoseconds = _without_fraction(text)
        written_whole = written.replace(fraction[0], "%S")
    else:
        written_whole = written
    try:
        seconds = _read(plain, written_whole)
    except pl.exceptions.ComputeError:
        seconds = None
    if seconds is None or "%Z" in written:
        problem = f"{keys}format = {written!r} is not a date format"
        fix = 'write such as "%d/%m/%Y %H:%M", and %z for an offset such as +02:00'
        raise DataError(explain(problem, file=file, column=column.name, fix=fix))
    wrong = seconds.is_null() & text.is_not_null()
    if wrong.any():
        rows = wrong.arg_true()
        seconds, nanoseconds = put_times((seconds, nanoseconds), rows, read_iso(text.gather(rows)))
        wrong = seconds.is_null() & text.is_not_null()
    if wrong.any():
        problem = name_rows(wrong, column, f"do not fit {keys}format = {written!r}")
        fix = "correct the format, or the values"
        raise DataError(explain(problem, file=file, column=column.name, fix=fix))
    return seconds, nanoseconds


def put_times(
    times: tuple[pl.Series, pl.Series | None],
    rows: pl.Series,
    others: tuple[pl.Series, pl.Series | None],
) -> tuple[pl.Series, pl.Series | None]:
    """Seconds and nanoseconds with those of some rows replaced.

    Args:
        times: (R,) each.
        rows: (N,) the rows to replace.
        others: (N,) each, the new values.
    """
    seconds = times[0].scatter(rows, others[0])
    if times[1] is None and others[1] is None:
        return seconds, None
    zeros = pl.Series([0], dtype=pl.Int32)
    nanoseconds = zeros.new_from_index(0, len(seconds)) if times[1] is None else times[1]
    rest = zeros.new_from_index(0, len(rows)) if others[1] is None else others[1]
    nanoseconds = nanoseconds.scatter(rows, rest)
    return seconds, nanoseconds.set(seconds.is_null(), None)


def _read(text: pl.Series, written: str) -> pl.Series:
    """Seconds in one format of strptime's codes; null for text that does not match, such as a year
    of two digits for %Y, or of one digit for %y."""
    seconds = _parse(text, written.replace("%z", "%#z"))
    if "%Y" in written:
        return seconds.set(seconds < _YEAR_1000, None)
    if re.match(r"%.(.)%.\1%y|%y", written):
        years = r"^\d\d\D" if written.startswith("%y") else r"^\w+\W\w+\W\d\d(\W|$)"
        return seconds.set(~text.str.contains(years), None)
    return seconds


_YEAR_1000: Final = -30_610_224_000


def read_dates(
    text: pl.Series, column: pl.Series, *, file: str | None, keys: str
) -> tuple[pl.Series, pl.Series | None, TimeFormat] | None:
    """Dates in one of the common formats; None if no format reads most of the first values.

    Raises:
        UnclearTimesError: day and month, or day and year, are ambiguous.
        DataError: values that do not match the format of the others.
    """
    plain, nanoseconds = _without_fraction(text)
    sample = plain.drop_nulls().head(_SAMPLE)
    if sample.str.contains(_LOOKS_LIKE_DATE).sum() * 2 <= len(sample):
        return None
    likely = [f for f in formats_of(sample) if _read(sample, f).count() * 2 > len(sample)]
    if not likely:
        return None
    read = {written: _read(plain, written) for written in likely}
    most = max(seconds.count() for seconds in read.values())
    best = {written: seconds for written, seconds in read.items() if seconds.count() == most}
    if most < text.count():
        wrong = next(iter(best.values())).is_null() & text.is_not_null()
        problem = name_rows(wrong, column, f"are not written like the others, {next(iter(best))!r}")
        fix = "write them the same way, or as ISO 8601 (2024-05-01T12:30:00)"
        raise DataError(explain(problem, file=file, column=column.name, fix=fix))
    best = _without_many_years(best)
    fraction = ".%f" if nanoseconds is not None else ""
    readings = [TimeFormat("date", format=w.replace("%S", "%S" + fraction)) for w in best]
    if len(readings) > 1:
        row = int(text.is_not_null().arg_true()[0])
        possible = [f'{keys}format = "{reading.format}"' for reading in readings]
        raise UnclearTimesError(
            explain(
                "day and month are ambiguous in every row"
                if len(readings) == 2
                else "the order of day, month and year is ambiguous in every row",
                file=file,
                row=row + 1,
                column=column.name,
                value=column[row],
                fix="set " + " or ".join(possible),
            ),
            readings,
        )
    return next(iter(best.values())), nanoseconds, readings[0]


def _without_many_years(read: dict[str, pl.Series]) -> dict[str, pl.Series]:
    """Of the formats with years of two digits, those in which the years vary least: a day that is
    read as a year varies from row to row."""
    years = {
        written: pl.from_epoch(seconds, "s").dt.year().n_unique()
        for written, seconds in read.items()
    }
    fewest = min(years.values())
    first = {written.startswith("%y") for written in read}
    if first != {True, False}:
        return read
    return {written: seconds for written, seconds in read.items() if years[written] == fewest}


@cache
def _formats() -> dict[str, tuple[str, ...]]:
    """The common formats by their separators, such as `// ::`."""
    numeric = [
        form.replace("-", mark)
        for mark in "/.-"
        for form in ("%Y-%m-%d", "%m-%d-%Y", "%d-%m-%Y", "%m-%d-%y", "%d-%m-%y", "%y-%m-%d")
    ]
    months = [
        *("%d %B %Y", "%d. %B %Y", "%B %d, %Y", "%B %d %Y", "%d-%B-%Y", "%d-%B-%y", "%d/%B/%Y"),
        *("%d %B, %Y", "%Y-%B-%d", "%Y %B %d", "%B %Y", "%A, %B %d, %Y"),
        *("%A, %d %B %Y", "%a %B %d %Y", "%m %d, %Y", "%d%B%Y"),
    ]
    clocks = [
        *("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %I:%M%p", ", %H:%M"),
        *(", %H:%M:%S", ", %I:%M %p", ", %I:%M:%S %p", " %H:%M:%S %z", " %H:%M %z", "T%H:%M:%S"),
        *(" %H:%M:%S GMT", " %H:%M:%S UTC", ":%H:%M:%S", ":%H:%M:%S %z"),
    ]
    whole = [
        *("%a %B %d %H:%M:%S %z %Y", "%a %B %d %H:%M:%S %Y", "%a %B %d %H:%M:%S UTC %Y"),
        *("%a %B %d %H:%M:%S GMT %Y",),
    ]
    formats: dict[str, tuple[str, ...]] = {}
    for written in [*("".join(pair) for pair in product(numeric + months, clocks)), *whole]:
        shape = re.sub(r"%\w|[^\W_]+", "", written)
        formats[shape] = (*formats.get(shape, ()), written)
    return formats


def formats_of(sample: pl.Series) -> tuple[str, ...]:
    """The common formats with the separators that most values have."""
    shape = sample.str.replace(_OFFSET, "${1} ").str.replace_all(r"[^\W_]+", "").mode()[0]
    return _formats().get(shape, ())


_OFFSET: Final = r"(:\d\d) ?[+-]\d\d:?\d\d"
