"""Whatever a table holds, `init` writes a config or says what is wrong."""

from __future__ import annotations

import tempfile
import tomllib
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twotower.errors import TwoTowerError
from twotower.workflow.setup.init import write_config
from twotower.workflow.setup.init.features import guess_feature

TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from([" ", "7", "007", "1.5", "1,5", "€16.02", "a > b", "NaN", "inf", "-", "True"]),
    st.sampled_from(["2024-01-01", "1/2/2024", "{}"]),
    st.sampled_from(["", "a|b", "http://x/y.png", "x.png", "['a', 'b']", "1e400", "9" * 30]),
)
KINDS: list[tuple[Any, Any]] = [
    (pl.String, TEXTS),
    (pl.Int64, st.integers(-(2**63), 2**63 - 1)),
    (pl.UInt64, st.integers(0, 2**64 - 1)),
    (pl.Int8, st.integers(0, 5)),
    (pl.Float64, st.floats()),
    (pl.Float32, st.floats(width=32)),
    (pl.Boolean, st.booleans()),
    (pl.Null, st.none()),
    (pl.Date, st.dates(date(1900, 1, 1), date(2200, 1, 1))),
    (pl.Datetime("us"), st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))),
    (pl.Datetime("ns", "UTC"), st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1))),
    (pl.Time, st.times(time(0), time(23))),
    (pl.Duration, st.timedeltas(timedelta(0), timedelta(9))),
    (pl.Decimal(18, 2), st.decimals(Decimal(0), Decimal(99), places=2)),
    (pl.Binary, st.binary(max_size=6)),
    (pl.Categorical, TEXTS),
    (pl.List(pl.String), st.lists(TEXTS, max_size=3)),
    (pl.List(pl.Float64), st.lists(st.floats(), max_size=3)),
    (pl.List(pl.Int64), st.lists(st.integers(0, 5), max_size=3)),
    (pl.List(pl.List(pl.String)), st.lists(st.lists(TEXTS, max_size=2), max_size=2)),
    (pl.Array(pl.Float32, 2), st.lists(st.floats(width=32), min_size=2, max_size=2)),
    (pl.Struct({"a": pl.Int64}), st.fixed_dictionaries({"a": st.integers(0, 5)})),
    (pl.List(pl.Struct({"a": pl.Int64})), st.lists(st.fixed_dictionaries({"a": st.just(1)}))),
]
WORDS = "user_id item_id id timestamp date rating weight click event title zip price age category"
NAMES = [*WORDS.split(), "order_id", "session_id", "name", "count", "x y\n"]


@st.composite
def columns(draw: st.DrawFn, rows: int, name: str) -> pl.Series:
    dtype, values = draw(st.sampled_from(KINDS))
    cells = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
    return pl.Series(name, cells, dtype=dtype, strict=False)


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.sampled_from([0, 1, 2, 5, 12]))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True))
    return pl.DataFrame([draw(columns(rows, name)) for name in names])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(log=frames(), items=st.none() | frames(), plain_ids=st.booleans())
def test_init_writes_a_config_or_says_what_is_wrong(
    log: pl.DataFrame, items: pl.DataFrame | None, plain_ids: bool
) -> None:
    if plain_ids:
        number = pl.int_range(pl.len())
        log = log.with_columns(user_id=number % 3, item_id=number % 4)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log.write_parquet(folder / "log.parquet")
        if items is not None:
            items.write_parquet(folder / "items.parquet")
        source = None if items is None else str(folder / "items.parquet")
        try:
            written = write_config(folder / "shop", str(folder / "log.parquet"), None, source)
        except TwoTowerError as error:
            text = str(error)
            assert not (folder / "shop").exists(), text
        else:
            assert [file.name for file in written.path.parent.iterdir()] == ["twotower.toml"]
            tomllib.loads(written.path.read_text(encoding="utf-8"))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(NAMES).flatmap(lambda name: columns(12, name)))
def test_every_column_gets_a_guess(column: pl.Series) -> None:
    assert guess_feature(column).reason


@pytest.mark.parametrize("cells", [["12", "7", "12"], ["1", "2", "3"], ["007", "12", "7"]])
def test_a_text_column_of_numerals(tmp_path: Path, cells: list[str]) -> None:
    log = pl.DataFrame({"user_id": ["a", "b", "c"], "item_id": cells})
    items = pl.DataFrame({"item_id": cells, "size": cells}).unique("item_id")
    log.write_parquet(tmp_path / "log.parquet")
    items.write_parquet(tmp_path / "items.parquet")
    written = write_config(
        tmp_path, str(tmp_path / "log.parquet"), None, str(tmp_path / "items.parquet")
    )
    assert "size" in written.path.read_text(encoding="utf-8")
