"""`timestamp`: a point in time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config import TimeUnit
from twotower.config.feature_type import Feature, FeatureConfig, SavedFeature, register_feature
from twotower.data.features.cells import categorical, refuse_nested
from twotower.data.features.column_types import moments
from twotower.data.features.standard import MAX_DEVIATIONS, mean_and_deviation
from twotower.data.values.spelling import spelled
from twotower.data.values.time_format import TimeFormat
from twotower.data.values.times import SECONDS_PER_DAY, to_times
from twotower.data.values.unix_times import EXCEL_EPOCH, PER_SECOND
from twotower.models.layers.feature_encoder import FeatureEncoder


@register_feature
class TimestampConfig(FeatureConfig):
    """A point in time, encoded as cycles (hour of day, day of week, day of year) and as an age."""

    type: Literal["timestamp"]
    format: str | None = None
    """Format of the times as a strptime pattern, such as `"%d/%m/%Y"`. Default: detected in
    training, as for `data.time_format`, and then fixed. Later files and requests may also use ISO
    8601."""
    unit: TimeUnit | None = None
    """Unit of numeric times, as for `data.time_unit`. Default: detected in training and then
    fixed."""

    meaning: ClassVar[str] = (
        "Sine and cosine of the hour, the day of the week and of the year, and the age."
    )

    def fit(self, name: str, column: pl.Series) -> TimestampFeature:
        times = to_times(column, unit=self.unit, format=self.format)
        known = times.seconds.drop_nulls().to_numpy().astype(np.float64)
        has_missing = len(known) < len(column) or not len(known)
        mean, deviation = mean_and_deviation(known)
        return TimestampFeature(name, self.written(times.written), mean, deviation, has_missing)

    def load(self, name: str, saved: SavedFeature) -> TimestampFeature:
        """States of older bundles have neither unit nor format, and do not say whether training
        lacked values."""
        state = saved.state
        found: dict[str, Any] = {key: state[key] for key in ("unit", "format") if key in state}
        fitted = self.model_copy(update=found)
        has_missing = state.get("has_missing", True)
        return TimestampFeature(name, fitted, state["mean"], state["deviation"], has_missing)

    def check(
        self,
        column: pl.Series,
        *,
        file: str | None = None,
        rows: bool = True,
        keys: str = "the feature's ",
    ) -> Self:
        refuse_nested(column, file)
        times = to_times(column, file=file, unit=self.unit, format=self.format, keys=keys)
        return self.written(times.written)

    def written(self, written: TimeFormat) -> Self:
        """A declaration that says how the times were written, so that a value alone is read as in
        its column."""
        return self.model_copy(update={"unit": written.unit, "format": written.format})

    def kept_as(
        self, column: pl.Series, dtype: pl.DataType, *, file: str | None = None
    ) -> pl.Series:
        """Times as those of the kept column are written: a date beside milliseconds would not be
        read as what it is."""
        if isinstance(dtype, pl.Date | pl.Datetime):
            return moments(column, dtype, file, self.unit, self.format)
        is_moment = isinstance(column.dtype, pl.Date | pl.Datetime)
        if not is_moment and dtype in (column.dtype, pl.String):
            return spelled(column) if dtype == pl.String else column
        known = self.format is not None or self.unit is not None
        if not (dtype == pl.String or (dtype.is_numeric() and known)):
            return column
        times = moments(column, pl.Datetime("us"), file, self.unit, self.format)
        if self.format is not None:
            text = times.dt.strftime(self.format)
        elif self.unit == "excel":
            text = (times.dt.epoch("ms") / 86_400_000 + EXCEL_EPOCH).cast(pl.String)
        elif self.unit is not None:
            text = since_1970(times, self.unit).cast(pl.String)
        else:
            text = times.dt.strftime("%Y-%m-%dT%H:%M:%S%.f")
        return text if dtype == pl.String else text.cast(dtype)

    def count(self, column: pl.Series) -> tuple[int, int]:
        return super().count(categorical(column))


def since_1970(times: pl.Series, unit: TimeUnit) -> pl.Series:
    """Datetimes as whole numbers of a unit."""
    microseconds, per_second = times.dt.epoch("us"), PER_SECOND[unit]
    if per_second >= 10**6:
        return microseconds * (per_second // 10**6)
    return microseconds // (10**6 // per_second)


@dataclass(frozen=True)
class TimestampFeature(Feature):
    """A point in time. Encoded as (R, 8) float32: sine and cosine of the hour of the day, the day
    of the week and the day of the year (UTC), a standardised age, a missing flag.

    Where training lacked no value, nothing has been learned of the flag, which is then never set.

    Attributes:
        config: with the unit of numbers and the format of dates that training found, so that a
            value alone means what it means in a column.
        mean, deviation: of the training part, in seconds.
        has_missing: whether some training row lacked the value.
    """

    config: TimestampConfig
    mean: float
    deviation: float
    has_missing: bool = True

    WIDTH: ClassVar[int] = 8

    def encode(self, column: pl.Series, *, file: str | None = None) -> NDArray[np.float32]:
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
        encoded[:, 7] = missing & self.has_missing
        return encoded

    def save(self) -> SavedFeature:
        return SavedFeature(
            {
                "mean": self.mean,
                "deviation": self.deviation,
                "unit": self.config.unit,
                "format": self.config.format,
                "has_missing": self.has_missing,
            }
        )

    def make_encoder(
        self, embedding_dim: int, generator: torch.Generator | None
    ) -> TimestampEncoder:
        return TimestampEncoder()


class TimestampEncoder(FeatureEncoder):
    """(R, 8) of cycles, age and missing flag, as they are."""

    width = TimestampFeature.WIDTH

    def forward(self, values: Tensor) -> Tensor:
        """(R, 8) float32, unchanged."""
        return values
