"""What a column that describes users or items may be as a feature: a guess from name and values."""

from __future__ import annotations

from typing import Final

import polars as pl

from twotower.config.feature_type import FEATURE_TYPES
from twotower.data.features.cells import split_values
from twotower.data.values.numbers import DECIMALS, MISSING, parse_numbers
from twotower.errors import DataError
from twotower.features.image import ImageConfig
from twotower.features.number import NumberConfig
from twotower.features.timestamp import TimestampConfig
from twotower.features.vector import VectorConfig
from twotower.registry import load_installed_plugins
from twotower.workflow.setup.init.cell_types import (
    as_numbers,
    as_text,
    is_flat,
    is_truth,
    looks_like_codes,
    numbers_rows,
)
from twotower.workflow.setup.init.guess import (
    MOST,
    Guess,
    guess_category,
    guess_number,
    left_out,
    of_parts,
    span,
)
from twotower.workflow.setup.init.names import FUTURE, HINTS, SUMMED_UP, has_word, hints, last_word
from twotower.workflow.setup.init.text_features import guess_text
from twotower.workflow.setup.init.times import is_time
from twotower.workflow.setup.init.weights import counts_the_future

FEW: Final = 50
"""Integers with at most so many different values are codes, unless their name says otherwise."""
IMAGE_STARTS: Final = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*")
"""How image files begin."""


def guess_feature(column: pl.Series) -> Guess:
    """What a column of a users or items table may be as a feature."""
    guess = guess_plugin_type(column) or guess_type(without_missing(column))
    if not guess.active:
        return guess
    try:
        guess.feature.check(column)
    except DataError as error:
        return Guess(guess.feature, str(error).partition(": ")[2].rstrip("."), active=False)
    return guess


def guess_plugin_type(column: pl.Series) -> Guess | None:
    """The first feature type of an installed plug-in that recognises the column."""
    load_installed_plugins()
    for name in FEATURE_TYPES.names():
        if FEATURE_TYPES.plugin_of(name) is not None:
            found = FEATURE_TYPES[name].guess(column)
            if found is not None:
                return Guess(*found)
    return None


def without_missing(column: pl.Series) -> pl.Series:
    """A column of numbers in text with null for `NULL`, `NA` and the like; others as they are."""
    if column.dtype != pl.String:
        return column
    text = as_text(column)
    text = text.set(text.str.contains(MISSING).fill_null(False), None)
    numbers = any(parse_numbers(text, sign).null_count() == text.null_count() for sign in DECIMALS)
    return text if numbers else column


def guess_type(column: pl.Series) -> Guess:
    """The same, before its values are held against the type."""
    if isinstance(column.dtype, pl.List | pl.Array):
        return guess_list(column)
    values = as_text(column).drop_nulls()
    if values.n_unique() < 2 and (is_flat(column) or column.dtype == pl.Null):
        return left_out("the same value in every row" if len(values) else "no values")
    return guess_flat(column, values)


def guess_flat(column: pl.Series, values: pl.Series) -> Guess:
    """A column of single values, some of them different; `values`: as text, without gaps."""
    if column.dtype == pl.Binary and is_images(column):
        return Guess(ImageConfig(type="image"), "image bytes")
    if column.dtype == pl.Time or not is_flat(column):
        return left_out(f"values of type {column.dtype}, which no feature type supports")
    if isinstance(column.dtype, pl.Date | pl.Datetime):
        return Guess(TimestampConfig(type="timestamp"), "dates")
    if is_truth(column):
        return counted(column) or guess_category(values, "truth values, ")
    return counted(column) or guess_values(column, values)


def counted(column: pl.Series) -> Guess | None:
    """A number or a text that sums up interactions, such as an average rating; None for others."""
    name = column.name
    if as_numbers(column) is None:
        summed = has_word(name, SUMMED_UP)
        return left_out("summarises interactions, including later ones") if summed else None
    if not (has_word(name, FUTURE) or counts_the_future(name)):
        return None
    reason = "counts interactions, including later ones"
    return Guess(NumberConfig(type="number"), reason, active=False)


def guess_values(column: pl.Series, text: pl.Series) -> Guess:
    """Numbers, written as numbers or as text, and other text."""
    numbers = as_numbers(column)
    if numbers is None or not len(numbers):
        if column.dtype.is_numeric():
            return Guess(NumberConfig(type="number"), "some values are not finite", active=False)
        return guess_text(text)
    whole = (numbers == numbers.round()).all() and not text.str.contains(".", literal=True).any()
    if whole:
        return guess_integers(column, numbers, text)
    if hints(column.name, "code") or has_word(column.name, "version"):
        return guess_category(text, "codes, ")
    return guess_number(numbers, f"numbers with a fraction, {span(numbers)}")


def guess_integers(column: pl.Series, numbers: pl.Series, text: pl.Series) -> Guess:
    """Codes, numbers, or unix times."""
    name, distinct = column.name, text.n_unique()
    if numbers_rows(column):
        return left_out("row numbers")
    if hints(name, "date") and is_time(column.drop_nulls()):
        return Guess(TimestampConfig(type="timestamp"), "Unix times, by name and values")
    number = hints(name, "number")
    zeros = text.str.contains(r"^[+-]?0\d").any()
    coded = column.dtype == pl.String and looks_like_codes(text) and not number
    if hints(name, "code") or zeros or coded:
        return guess_category(text, "codes, ")
    few = distinct <= (10 if number else FEW) and distinct <= len(text) / 5
    is_kind = last_word(name) in HINTS["kind"].split() and not number
    few = few or (is_kind and distinct <= len(text) / 5)
    low, high = float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]
    if low in (0, 1) and high - low + 1 == distinct and distinct <= min(FEW, len(text) / 2):
        few = few or not number  # 0 to 20 without a gap: numbered kinds
    if few:
        return guess_category(text, "integers that look like codes, ")
    return guess_number(numbers, f"integers with {distinct:,} different values, {span(numbers)}")


def guess_list(column: pl.Series) -> Guess:
    """A column of lists."""
    inner = getattr(column.dtype, "inner", None)
    if inner is not None and inner.is_float():
        return guess_vector(column)
    if inner is None or inner.is_nested() or inner in (pl.Object, pl.Binary):
        return left_out(f"values of type {column.dtype}, which no feature type supports")
    try:
        parts = split_values(column, None)[1]
    except (DataError, pl.exceptions.PolarsError):
        return left_out(f"values of type {column.dtype}, which no feature type supports")
    return of_parts(parts, column, None) or left_out("lists with few repeated values")


def guess_vector(column: pl.Series) -> Guess:
    """A column of lists of numbers with a fraction: a vector, where all have one length."""
    values = column.cast(pl.List(pl.Float64))
    lengths = values.list.len().drop_nulls()
    lengths = lengths.filter(lengths > 0).unique()
    if len(lengths) == 1 and lengths[0] > 1:
        return Guess(VectorConfig(type="vector"), f"vectors of {lengths[0]:,} numbers")
    if len(lengths) > 1:
        return left_out(f"lists of numbers, of {len(lengths):,} different lengths")
    return left_out("lists of one number or none")


def is_images(column: pl.Series) -> bool:
    """Whether nearly all of a column's bytes begin as image files do, judged by the first 100."""
    cells = column.drop_nulls().head(100).to_list()
    starts = sum(cell.startswith(IMAGE_STARTS) or cell[8:12] == b"WEBP" for cell in cells)
    return bool(cells) and bool(starts > MOST * len(cells))
