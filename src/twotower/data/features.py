"""Features as fitted on the training part: each turns a column into an array, the same way in
training and in serving.

A feature has a config (what the user declared) and, once fitted, a state (vocabulary, mean,
edges). `encode` never fails on a value that training did not see; it fails on a value that is not
of the declared type, naming row and value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config import (
    CategoriesConfig,
    CategoryConfig,
    IdFeatureConfig,
    NumberConfig,
    TimestampConfig,
)
from twotower.data.times import SECONDS_PER_DAY, to_seconds
from twotower.data.vocabulary import Vocabulary
from twotower.errors import DataError, explain

Array = NDArray[Any]


@runtime_checkable
class Feature(Protocol):
    """A fitted feature."""

    name: str

    @property
    def column(self) -> str:
        """The column it reads."""
        ...

    def encode(self, column: pl.Series, *, file: str | None = None) -> Array:
        """A column (R,) to an array whose first dimension is R; a null is a missing value."""
        ...

    def state(self) -> dict[str, Any]:
        """What was fitted, without the vocabulary, as JSON."""
        ...


@dataclass(frozen=True)
class IdFeature:
    """The raw id. Encoded as num (R,) int64."""

    name: str
    config: IdFeatureConfig
    column: str
    vocabulary: Vocabulary

    def encode(self, column: pl.Series, *, file: str | None = None) -> Array:
        """Nums (R,) int64; unknown ids become OOV nums."""
        return self.vocabulary.encode(column)

    def state(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class CategoryFeature:
    """One value of a set. Encoded as num (R,) int64; missing is padding, unknown is OOV."""

    name: str
    config: CategoryConfig
    vocabulary: Vocabulary

    @staticmethod
    def fit(name: str, config: CategoryConfig, column: pl.Series) -> CategoryFeature:
        vocabulary = Vocabulary.build(
            categorical(column), min_count=config.min_count, num_oov=config.num_oov
        )
        return CategoryFeature(name, config, vocabulary)

    @property
    def column(self) -> str:
        return self.config.column or self.name

    def encode(self, column: pl.Series, *, file: str | None = None) -> Array:
        """Nums (R,) int64."""
        return self.vocabulary.encode(categorical(column))

    def state(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class CategoriesFeature:
    """Several values of a set. Encoded as nums (R, M) int64, padded with 0; missing is all 0."""

    name: str
    config: CategoriesConfig
    vocabulary: Vocabulary

    @staticmethod
    def fit(name: str, config: CategoriesConfig, column: pl.Series) -> CategoriesFeature:
        vocabulary = Vocabulary.build(
            categorical(split_cells(column, config.separator).explode()),
            min_count=config.min_count,
            num_oov=config.num_oov,
        )
        return CategoriesFeature(name, config, vocabulary)

    @property
    def column(self) -> str:
        return self.config.column or self.name

    def encode(self, column: pl.Series, *, file: str | None = None) -> Array:
        """Nums (R, M) int64; M is the longest row here, at most `max_values`, at least 1."""
        cells = split_cells(column, self.config.separator).list.head(self.config.max_values)
        lengths = cells.list.len().fill_null(0).to_numpy().astype(np.int64)
        width = max(1, int(lengths.max(initial=0)))
        nums = np.zeros((len(cells), width), dtype=np.int64)
        flat = self.vocabulary.encode(categorical(cells.filter(pl.Series(lengths > 0)).explode()))
        rows = np.repeat(np.arange(len(cells)), lengths)
        places = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        nums[rows, places] = flat
        return nums

    def state(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class NumberFeature:
    """A number. Encoded as (R, 2 + has bins) float32: value, missing flag, bin num.

    The value is standardised with the training part's mean and deviation and is 0 where it is
    missing (the flag tells). Bin 0 is missing, bins 1 .. num_bins are quantiles of training.
    """

    name: str
    config: NumberConfig
    mean: float
    deviation: float
    edges: tuple[float, ...] = ()

    @staticmethod
    def fit(name: str, config: NumberConfig, column: pl.Series) -> NumberFeature:
        values = _numbers(column, config, file=None)
        known = values[~np.isnan(values)]
        mean = float(known.mean()) if len(known) else 0.0
        deviation = float(known.std()) if len(known) else 1.0
        edges: tuple[float, ...] = ()
        if config.num_bins and len(known):
            quantiles = np.linspace(0, 1, config.num_bins + 1)[1:-1]
            edges = tuple(float(edge) for edge in np.unique(np.quantile(known, quantiles)))
        return NumberFeature(name, config, mean, deviation if deviation > 0 else 1.0, edges)

    @property
    def column(self) -> str:
        return self.config.column or self.name

    @property
    def num_bins(self) -> int:
        """Bins in use, the one for missing values included; 0 without bins."""
        return len(self.edges) + 2 if self.config.num_bins else 0

    def encode(self, column: pl.Series, *, file: str | None = None) -> Array:
        """(R, 2) or (R, 3) float32."""
        values = _numbers(column, self.config, file=file)
        missing = np.isnan(values)
        standard = np.where(missing, 0.0, (values - self.mean) / self.deviation)
        parts = [standard, missing]
        if self.num_bins:
            bins = np.searchsorted(np.array(self.edges), values, side="right") + 1
            parts.append(np.where(missing, 0, bins))
        return np.stack(parts, axis=1).astype(np.float32)

    def state(self) -> dict[str, Any]:
        return {"mean": self.mean, "deviation": self.deviation, "edges": list(self.edges)}


@dataclass(frozen=True)
class TimestampFeature:
    """A point in time. Encoded as (R, 8) float32: sine and cosine of the hour of the day, the day
    of the week and the day of the year (UTC), a standardised age, a missing flag."""

    name: str
    config: TimestampConfig
    mean: float
    deviation: float

    WIDTH = 8

    @staticmethod
    def fit(name: str, config: TimestampConfig, column: pl.Series) -> TimestampFeature:
        seconds = to_seconds(column)
        known = seconds.drop_nulls().to_numpy().astype(np.float64)
        deviation = float(known.std()) if len(known) else 1.0
        mean = float(known.mean()) if len(known) else 0.0
        return TimestampFeature(name, config, mean, deviation if deviation > 0 else 1.0)

    @property
    def column(self) -> str:
        return self.config.column or self.name

    def encode(self, column: pl.Series, *, file: str | None = None) -> Array:
        """(R, 8) float32."""
        series = to_seconds(column, file=file)
        missing = series.is_null().to_numpy()
        seconds = series.fill_null(0).to_numpy().astype(np.float64)
        encoded = np.zeros((len(series), self.WIDTH), dtype=np.float32)
        days = seconds / SECONDS_PER_DAY
        # The epoch was a Thursday; a year's length only has to keep seasons in place.
        for place, phase in enumerate((days, (days + 3) / 7, days / 365.2425)):
            angle = 2 * math.pi * phase
            encoded[:, 2 * place] = np.sin(angle)
            encoded[:, 2 * place + 1] = np.cos(angle)
        encoded[:, 6] = (seconds - self.mean) / self.deviation
        encoded[missing] = 0
        encoded[:, 7] = missing
        return encoded

    def state(self) -> dict[str, Any]:
        return {"mean": self.mean, "deviation": self.deviation}


FittedFeature = IdFeature | CategoryFeature | CategoriesFeature | NumberFeature | TimestampFeature


def categorical(column: pl.Series) -> pl.Series:
    """A column as strings or integers: other types (bool, float, date, enum) become their text."""
    if column.dtype.is_integer() or column.dtype in (pl.String, pl.Null):
        return column if column.dtype != pl.Null else column.cast(pl.String)
    return column.cast(pl.String)


def split_cells(column: pl.Series, separator: str | None) -> pl.Series:
    """A column of lists of values; text cells are split at `separator`, empty parts dropped."""
    if isinstance(column.dtype, pl.List | pl.Array):
        cells = column if isinstance(column.dtype, pl.List) else column.arr.to_list()
        return cells.list.drop_nulls()
    text = column.cast(pl.String)
    parts = (
        text.str.split(separator)
        if separator
        else text.to_frame().select(pl.concat_list(pl.all())).to_series()
    )
    frame = (
        parts.alias("cell")
        .to_frame()
        .select(
            pl.col("cell")
            .list.eval(pl.element().str.strip_chars())
            .list.eval(pl.element().filter(pl.element() != ""))
        )
    )
    return frame.to_series()


def _numbers(column: pl.Series, config: NumberConfig, *, file: str | None) -> NDArray[np.float64]:
    """A column as float64 with NaN for missing.

    Raises:
        DataError: text that is no number, NaN, infinity, or a negative value where log is taken.
    """
    name = column.name
    if column.dtype.is_numeric() or column.dtype in (pl.Null, pl.Boolean):
        values = column.cast(pl.Float64)
    else:
        values = column.cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
        _refuse(
            (values.is_null() & column.is_not_null()).to_numpy(),
            column,
            file,
            "is declared a number, but this value is not one",
            f"correct the value, leave the cell empty, or declare {name!r} a category",
        )
    finite = values.is_finite().fill_null(True).to_numpy()
    _refuse(
        ~finite,
        column,
        file,
        "holds a value that is not finite",
        "leave the cell empty where the value is not known",
    )
    if config.log:
        negative = (values < 0).fill_null(False).to_numpy()
        _refuse(
            negative,
            column,
            file,
            "is to be logged, but holds a negative value",
            "set log = false for it",
        )
        values = values.log1p()
    return values.fill_null(float("nan")).to_numpy().astype(np.float64)


def _refuse(
    wrong: NDArray[np.bool_], column: pl.Series, file: str | None, problem: str, fix: str
) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        more = f" in {len(rows):,} rows, first" if len(rows) > 1 else ""
        raise DataError(
            explain(
                problem + more,
                file=file,
                row=int(rows[0]) + 1,
                column=column.name,
                value=column[int(rows[0])],
                fix=fix,
            )
        )
