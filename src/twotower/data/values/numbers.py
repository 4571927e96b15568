"""Numbers of any type or spelling: plain, with groups of thousands, prices with a currency."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.values.row_errors import refuse_rows
from twotower.data.values.spelling import spelled

Decimal = Literal[".", ","]
DECIMALS: Final[tuple[Decimal, ...]] = (".", ",")

MISSING: Final = r"(?i)^(null|n/?a|none|\\n|-)$"
"""Placeholders that programs write for a missing number."""
_LARGEST: Final = float(np.finfo(np.float32).max)
_CODES: Final = (
    "AED|ARS|AUD|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|EUR|GBP|HKD|HUF|IDR|ILS|INR|ISK|JPY|KES|"
    "KRW|KZT|MAD|MXN|MYR|NGN|NOK|NZD|PEN|PHP|PKR|PLN|RON|RSD|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|"
    "VND|ZAR"
)
_CURRENCY: Final = rf"(?:[A-Z]{{0,3}}\p{{Sc}}|(?i:{_CODES})|(?i:kr|zł|kč|rs)\.?)"
"""A sign such as € and US$, a code of ISO 4217, or a customary abbreviation."""
_BLANKS: Final = " \u00a0\u2009\u202f"
_APOSTROPHES: Final = "'\u2019"
"""Thousands separators besides the sign that is not the decimal one."""


def to_numbers(
    column: pl.Series,
    *,
    decimal: Decimal = ".",
    log: bool = False,
    file: str | None = None,
    rows: bool = True,
) -> NDArray[np.float64]:
    """A column as float64 with NaN for missing: nulls, NaN, blank text and `NULL`, `NA`, `N/A`,
    `None`, `\\N` and `-`. Truth values are 1 and 0.

    Args:
        column: numbers, truth values or text; what a cell means never depends on other cells.
        decimal: the decimal sign of numbers in text.
        log: take log(1 + x).
        file: where the values are from, for errors.
        rows: whether the column's rows are the file's, so that errors may name them.

    Raises:
        DataError: text that is not a number, infinity, a number that float32 cannot hold, or a
            negative value where log is taken.
    """
    if column.dtype.is_numeric() or column.dtype in (pl.Null, pl.Boolean):
        values = column.cast(pl.Float64)
    else:
        values = _read_all(column, decimal, file, rows)
    values = values.fill_nan(None)
    refuse_rows(
        (values.abs() > _LARGEST).fill_null(False).to_numpy(),
        column,
        file,
        rows,
        "contains a value that is not finite",
        "leave the cell empty if the value is unknown",
    )
    if log:
        refuse_rows(
            (values < 0).fill_null(False).to_numpy(),
            column,
            file,
            rows,
            "has log = true but contains a negative value",
            "set log = false for it",
        )
        values = values.log1p()
    return values.fill_null(float("nan")).to_numpy().astype(np.float64)


def _read_all(column: pl.Series, decimal: Decimal, file: str | None, rows: bool) -> pl.Series:
    """Text as Float64; every cell must be a number or blank."""
    text = spelled(column).str.strip_chars()
    text = text.set(text.str.contains(MISSING).fill_null(False), None)
    values = parse_numbers(text, decimal)
    wrong = values.is_null() & (text != "").fill_null(False)
    if wrong.any():
        name, first = column.name, text.filter(wrong)[:1]
        other: Decimal = "," if decimal == "." else "."
        fix = f"correct the value, leave the cell empty, or declare {name!r} a category"
        if parse_numbers(first, other)[0] is not None:
            fix = f'set decimal = "{other}" for this feature, or correct the value'
        refuse_rows(
            wrong.to_numpy(),
            column,
            file,
            rows,
            "is declared as a number, but this value is not a number",
            fix,
        )
    return values


def parse_numbers(text: pl.Series, decimal: Decimal = ".") -> pl.Series:
    """Text without surrounding blanks as Float64, null where it is not a number.

    `nan` is NaN. Signs, codes and abbreviations of currencies beside a number are ignored;
    thousands may be grouped by the sign that is not the decimal one, by blanks or by apostrophes.
    """
    plain = text.str.contains(r"^[+-]?\d+$") if decimal == "," else None
    numbers = text.cast(pl.Float64, strict=False)
    if plain is not None:
        numbers = numbers.set(~plain, None)
    rest = (numbers.is_null() & text.is_not_null()).arg_true()
    if len(rest):
        numbers = numbers.scatter(rest, _parse_spelled(text.gather(rest), decimal))
    return numbers


def _parse_spelled(text: pl.Series, decimal: Decimal) -> pl.Series:
    """The cells that are more than digits and a point."""
    group = "," if decimal == "." else "."
    marks = [f"[{group}]", f"[{_BLANKS}]", f"[{_APOSTROPHES}]"]
    grouped = "|".join(rf"\d{{1,3}}(?:{mark}\d{{2,3}})*{mark}\d{{3}}" for mark in marks)
    fraction = rf"(?:[{decimal}]\d*)?"
    number = rf"^[+-]?(?:(?:{grouped}|\d+){fraction}|[{decimal}]\d+)(?:[eE][+-]?\d+)?$"
    bare = (
        pl.col("text")
        .str.replace("\u2212", "-", literal=True)
        .str.replace(rf"^([+-]?)\s*{_CURRENCY}\s*([+-]?)", "$1$2")
        .str.replace(rf"\s*{_CURRENCY}$", "")
    )
    digits = bare.str.replace_all(rf"[{group}{_BLANKS}{_APOSTROPHES}]", "").str.replace(
        decimal, ".", literal=True
    )
    words = pl.col("text").str.to_lowercase()
    read = (
        pl.when(bare.str.contains(number))
        .then(digits.cast(pl.Float64, strict=False))
        .when(words.is_in(["true", "false"]))
        .then((words == "true").cast(pl.Float64))
        .when(words == "nan")
        .then(float("nan"))
    )
    return text.alias("text").to_frame().select(read).to_series()
