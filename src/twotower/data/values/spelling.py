"""One spelling of each value, regardless of the type and the other values of its column."""

from __future__ import annotations

import re
from typing import Any, Final

import polars as pl

TRUTH: Final = {True: "true", False: "false"}
"""How truth values are spelled."""

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,18})")


def exact_limit(dtype: pl.DataType) -> int | None:
    """The largest number below which a type of floats holds every integer; None for other types."""
    bits = {pl.Float16: 11, pl.Float32: 24, pl.Float64: 53}
    return next((2**places for kind, places in bits.items() if dtype == kind), None)


def spelled(column: pl.Series) -> pl.Series:
    """A column of any flat type as text; NaN becomes null.

    Text stays. Numbers are spelled as short as their type allows, whole ones without a fraction,
    as a column of integers turns into floats once it has a gap. Truth values are `true` and
    `false`. Times with a zone are those of UTC.
    """
    dtype = column.dtype
    if dtype == pl.String:
        return column
    if dtype.is_float():
        return _floats(column)
    text = column.cast(pl.String) if not isinstance(dtype, pl.Datetime) else _datetimes(column)
    if isinstance(dtype, pl.Decimal) and dtype.scale:
        text = text.str.strip_chars_end("0").str.strip_chars_end(".")
    return text


def spell(value: Any) -> str | None:
    """A plain value as `spelled` writes it in a column."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return TRUTH[value]
    # Python's integers may be larger than any column's.
    text: str = str(value) if isinstance(value, int) else spelled(pl.Series([value]))[0]
    return text


def _floats(column: pl.Series) -> pl.Series:
    value, limit = pl.col("value"), exact_limit(column.dtype)
    whole = (value == value.floor()) & (value.abs() < limit)
    texts = (
        column.alias("value")
        .to_frame()
        .with_columns(value.fill_nan(None))
        .select(
            pl.when(whole)
            .then(value.cast(pl.Int64, strict=False).cast(pl.String))
            .otherwise(value.cast(pl.String))
        )
    )
    return texts.to_series().alias(column.name)


def _datetimes(column: pl.Series) -> pl.Series:
    zone = getattr(column.dtype, "time_zone", None)
    if zone is not None:
        column = column.dt.convert_time_zone("UTC")
    return column.dt.strftime("%Y-%m-%d %H:%M:%S%.f" + ("" if zone is None else "Z"))


def to_integers(column: pl.Series) -> pl.Series:
    """Integers, and text that spells one as integers are written, as Int64; null for all else.

    `007`, `+7`, `-0` and ` 7` are text of their own. So are numbers beyond 64 bits.
    """
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False)
    text = spelled(column)
    numbers = text.cast(pl.Int64, strict=False)
    same = numbers.cast(pl.String) == text
    return numbers if same.all() else numbers.set(~same, None)


def to_integer(text: str) -> int | None:
    """The integer that text spells as integers are written, within 64 bits; else None."""
    if not _INTEGER.fullmatch(text) or text == "-0":
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None
