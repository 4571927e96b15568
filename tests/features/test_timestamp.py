"""Timestamp features: a value alone is read as in its column."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from twotower.config import FeaturesConfig
from twotower.config.feature_type import SavedFeature
from twotower.data.features.schema import Schema, check_side
from twotower.data.values.times import to_times
from twotower.errors import DataError
from twotower.features.timestamp import TimestampConfig, TimestampFeature


def timestamp(values: list[Any]) -> TimestampFeature:
    column = pl.Series("born", values)
    return TimestampConfig(type="timestamp").fit("born", column)


def test_birthdays_in_milliseconds_alone_and_in_a_column() -> None:
    """Of 1950, 1968, 1972 and 2004: alone, some of them would be seconds."""
    column = pl.Series(
        "born", [-631_152_000_000, -63_158_400_000, 63_072_000_000, 1_072_915_200_000]
    )
    feature = TimestampConfig(type="timestamp").fit("born", column)
    assert feature.config.unit == "ms"
    at_once = feature.encode(column)
    assert np.abs(at_once[:, 6]).max() < 2
    for row in range(4):
        assert np.array_equal(feature.encode(column[row : row + 1]), at_once[row : row + 1])
    again = TimestampConfig(type="timestamp").load("born", feature.save())
    assert again == feature


def test_days_and_months_are_read_as_in_training() -> None:
    feature = timestamp(["1/2/1990", "18/2/1990"])
    assert feature.config.format == "%d/%m/%Y"
    alone = feature.encode(pl.Series("born", ["1/2/1990"]))
    assert np.array_equal(alone, feature.encode(pl.Series("born", ["1/2/1990", "18/2/1990"]))[:1])
    with pytest.raises(DataError) as caught:
        feature.encode(pl.Series("born", ["2/18/1990"]))
    assert str(caught.value) == (
        "column 'born': 1 of 1 timestamps do not fit the feature's format = '%d/%m/%Y'; row 1: "
        "'2/18/1990'. Fix: correct the format, or the values."
    )


def test_a_bundle_from_before_units_were_kept() -> None:
    feature = TimestampConfig(type="timestamp").load(
        "born", SavedFeature({"mean": 1.0, "deviation": 2.0})
    )
    assert feature == TimestampFeature("born", TimestampConfig(type="timestamp"), 1.0, 2.0)
    assert feature.encode(pl.Series("born", [1_700_000_000])).shape == (1, 8)


def test_the_whole_file_says_how_times_are_written() -> None:
    """A day above 12 in a row that training does not hold tells the day from the month."""
    config = FeaturesConfig.model_validate({"user": {"born": {"type": "timestamp"}}})
    users = pl.DataFrame({"user_id": ["a", "b"], "born": ["1/2/1990", "18/2/1990"]})
    interactions = pl.DataFrame({"user_id": ["a"], "item_id": ["x"]})
    schema = Schema.fit(config, interactions=interactions, users=users, items=None)
    born = schema.features["user"]["born"]
    assert isinstance(born, TimestampFeature)
    assert born.config.format == schema.config.user["born"].format == "%d/%m/%Y"  # type: ignore[union-attr]


def test_the_key_of_a_feature_is_named() -> None:
    config = FeaturesConfig.model_validate({"user": {"born": {"type": "timestamp"}}})
    users = pl.DataFrame({"user_id": ["a"], "born": [1990]})
    with pytest.raises(DataError) as caught:
        check_side(config, "user", users, file="users.csv")
    assert str(caught.value) == (
        "users.csv, row 1, column 'born': the timestamps look like years, not like seconds since "
        '1970 (found 1990). Fix: set features.user.born.format = "%Y" if they are; '
        'features.user.born.unit = "s" takes them as seconds or as an order.'
    )


@pytest.mark.parametrize("written", ["%d/%m/%Y", None])
def test_iso_is_read_beside_what_training_found(written: str | None) -> None:
    """A request may send ISO 8601, whatever the file of training held."""
    moments = ["2001-02-13", "2002-11-05T12:00:00.25"]
    config = TimestampConfig(type="timestamp", format=written, unit=None if written else "ms")
    own = "13/02/2001" if written else "982022400000"
    times = to_times(
        pl.Series("born", [own, *moments, None, ""]), unit=config.unit, format=config.format
    )
    assert times.seconds.to_list() == [982022400, 982022400, 1036497600, None, None]
    assert times.nanoseconds is not None
    assert times.nanoseconds.to_list() == [0, 0, 250_000_000, None, None]


def test_a_value_that_is_neither_iso_nor_a_number() -> None:
    column = pl.Series("born", ["982022400000", "soon", "2001-02-13"])
    with pytest.raises(DataError) as caught:
        to_times(column, file="items.csv", unit="ms")
    assert str(caught.value) == (
        "items.csv, column 'born': 1 of 3 timestamps cannot be read; row 2: 'soon'. Fix: write "
        "times as ISO 8601 (2024-05-01T12:30:00) or as unix seconds."
    )


def test_timestamp_cycles() -> None:
    feature = timestamp(["2024-01-01T00:00:00", "2024-01-03T00:00:00"])
    # 2024-01-01 was a Monday; six in the morning is a quarter of the day.
    encoded = feature.encode(pl.Series(["2024-01-01T06:00:00", None]))
    assert encoded.shape == (2, feature.WIDTH)
    np.testing.assert_allclose(encoded[0, 0:2], [1, 0], atol=1e-6)
    week = 2 * math.pi * 0.25 / 7
    np.testing.assert_allclose(encoded[0, 2:4], [math.sin(week), math.cos(week)], atol=1e-6)
    np.testing.assert_allclose(encoded[0, 6:], [-0.75, 0], atol=1e-6)
    assert encoded[1].tolist() == [0] * 8, "training lacked none"
    gaps = timestamp(["2024-01-01T00:00:00", None])
    assert gaps.encode(pl.Series(["2024-01-01T06:00:00", None]))[1].tolist() == [0] * 7 + [1]


def test_timestamp_of_one_moment_or_none() -> None:
    one = timestamp([1_700_000_000] * 5)
    assert one.deviation == 1.0
    assert np.isfinite(one.encode(pl.Series([1_800_000_000]))).all()
    none = timestamp([None])
    assert (none.mean, none.deviation) == (0.0, 1.0)
