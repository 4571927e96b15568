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
from twotower.data.features.cells import categorical, split_values, with_written
from twotower.data.features.registry import ContentFeature
from twotower.data.features.vocabulary import Vocabulary
from twotower.data.values.numbers import to_numbers
from twotower.data.values.times import SECONDS_PER_DAY, to_times

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

    def values(self, column: pl.Series) -> pl.Series:
        """The values (R or fewer,) that a column holds, without missing ones."""
        return categorical(column).drop_nulls()

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
            split_values(column, config.separator, hierarchical=config.hierarchical)[1],
            min_count=config.min_count,
            num_oov=config.num_oov,
        )
        return CategoriesFeature(name, config, vocabulary)

    @property
    def column(self) -> str:
        return self.config.column or self.name

    def values(self, column: pl.Series) -> pl.Series:
        """The values (T,) that the cells of a column hold."""
        return self.cells(column)[1]

    def cells(self, column: pl.Series) -> tuple[NDArray[np.int64], pl.Series]:
        """Row (T,) and value (T,) of what the cells of a column hold."""
        hierarchical = self.config.hierarchical
        return split_values(column, self.config.separator, hierarchical=hierarchical)

    def value(self, text: str | None) -> str | None:
        """A single value as cells hold it: a whole path where they hold paths."""
        separator = self.config.separator if self.config.hierarchical else None
        column = pl.Series([text], dtype=pl.String)
        found = split_values(column, separator, hierarchical=self.config.hierarchical)[1]
        return found[-1] if len(found) else None

    def encode(self, column: pl.Series, *, file: str | None = None) -> Array:
        """Nums (R, M) int64; M is the longest row here, at most `max_values`, at least 1."""
        rows, values = self.cells(column)
        lengths = np.bincount(rows, minlength=len(column))
        places = np.arange(len(rows)) - (np.cumsum(lengths) - lengths)[rows]
        kept = places < self.config.max_values
        width = max(1, min(int(lengths.max(initial=0)), self.config.max_values))
        nums = np.zeros((len(column), width), dtype=np.int64)
        nums[rows[kept], places[kept]] = self.vocabulary.encode(values)[kept]
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
        values = to_numbers(column, config, file=None)
        known = values[~np.isnan(values)]
        mean, deviation = _scale(known)
        edges: tuple[float, ...] = ()
        if config.num_bins and len(known):
            quantiles = np.linspace(0, 1, config.num_bins + 1)[1:-1]
            edges = tuple(float(edge) for edge in np.unique(np.quantile(known, quantiles)))
        return NumberFeature(name, config, mean, deviation, edges)

    @property
    def column(self) -> str:
        return self.config.column or self.name

    @property
    def num_bins(self) -> int:
        """Bins in use, the one for missing values included; 0 without bins."""
        return len(self.edges) + 2 if self.config.num_bins else 0

    def encode(self, column: pl.Series, *, file: str | None = None) -> Array:
        """(R, 2) or (R, 3) float32."""
        values = to_numbers(column, self.config, file=file)
        missing = np.isnan(values)
        standard = np.where(missing, 0.0, (values - self.mean) / self.deviation)
        standard = standard.clip(-MAX_DEVIATIONS, MAX_DEVIATIONS)
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
    of the week and the day of the year (UTC), a standardised age, a missing flag.

    Attributes:
        config: with the unit of numbers and the format of dates that training found, so that a
            value alone means what it means in a column.
    """

    name: str
    config: TimestampConfig
    mean: float
    deviation: float

    WIDTH = 8

    @staticmethod
    def fit(name: str, config: TimestampConfig, column: pl.Series) -> TimestampFeature:
        times = to_times(column, unit=config.unit, format=config.format)
        known = times.seconds.drop_nulls().to_numpy().astype(np.float64)
        return TimestampFeature(name, with_written(config, times.written), *_scale(known))

    @staticmethod
    def restore(name: str, config: TimestampConfig, state: dict[str, Any]) -> TimestampFeature:
        """From what `state` gave; states of older bundles have neither unit nor format."""
        found: dict[str, Any] = {key: state[key] for key in ("unit", "format") if key in state}
        fitted = config.model_copy(update=found)
        return TimestampFeature(name, fitted, state["mean"], state["deviation"])

    @property
    def column(self) -> str:
        return self.config.column or self.name

    def encode(self, column: pl.Series, *, file: str | None = None) -> Array:
        """(R, 8) float32."""
        times = to_times(
            column,
            file=file,
            unit=self.config.unit,
            format=self.config.format,
            keys="the feature's ",
        )
        series = times.seconds
        missing = series.is_null().to_numpy()
        seconds = series.fill_null(0).to_numpy().astype(np.float64)
        encoded = np.zeros((len(series), self.WIDTH), dtype=np.float32)
        days = seconds / SECONDS_PER_DAY
        # The epoch was a Thursday; a year's length only has to keep seasons in place.
        for place, phase in enumerate((days, (days + 3) / 7, days / 365.2425)):
            angle = 2 * math.pi * phase
            encoded[:, 2 * place] = np.sin(angle)
            encoded[:, 2 * place + 1] = np.cos(angle)
        age = (seconds - self.mean) / self.deviation
        encoded[:, 6] = age.clip(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        encoded[missing] = 0
        encoded[:, 7] = missing
        return encoded

    def state(self) -> dict[str, Any]:
        return {
            "mean": self.mean,
            "deviation": self.deviation,
            "unit": self.config.unit,
            "format": self.config.format,
        }


FittedFeature = (
    IdFeature
    | CategoryFeature
    | CategoriesFeature
    | NumberFeature
    | TimestampFeature
    | ContentFeature
)


MAX_DEVIATIONS = 1e6
"""Standardised numbers are cut off at it, so that they are finite whatever a request sends."""


def _scale(known: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and deviation of values (T,): 0 and 1 of none; a constant has deviation 1."""
    if not len(known):
        return 0.0, 1.0
    mean, deviation = float(known.mean()), float(known.std())
    # The mean of equal values is off by rounding, which is no deviation to divide by.
    return mean, deviation if deviation > 1e-12 * abs(mean) else 1.0
