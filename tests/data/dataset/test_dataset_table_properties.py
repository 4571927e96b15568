"""A table is what its rows say, however it is written: in another order, in several files, as CSV,
TSV, JSON Lines or Parquet, with ids as integers or text and times in several spellings."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal, assert_series_equal
from rich.console import Console

from twotower.config import Config
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.interactions import Interactions
from twotower.errors import DataError
from twotower.workflow.training.train import fit_part, measure

START = 1_700_000_000_000
"""In milliseconds."""

WRITERS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "csv": pl.DataFrame.write_csv,
    "tsv": lambda frame, path: frame.write_csv(path, separator="\t"),
    "jsonl": pl.DataFrame.write_ndjson,
    "parquet": pl.DataFrame.write_parquet,
}

TIMES: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "numbers": lambda time: time,
    "text": lambda time: pl.from_epoch(time, time_unit="ms").dt.strftime("%Y-%m-%dT%H:%M:%S%.3f"),
    "zoned": lambda time: pl.from_epoch(time, time_unit="ms").dt.strftime(
        "%Y-%m-%d %H:%M:%S%.3f+00:00"
    ),
}


@dataclass(frozen=True)
class Spelling:
    """How a table is written.

    Attributes:
        order: of its rows.
        files: how many they are cut into.
        kind: of the files.
        text_ids: whether ids are text, where the file has types.
        times: how they are written.
    """

    order: list[int]
    files: int
    kind: str
    text_ids: bool
    times: str

    def write(self, table: pl.DataFrame, folder: Path) -> Path:
        """Write the table; gives the file or the folder."""
        ids = pl.String if self.text_ids else table["user_id"].dtype
        rows = table[self.order].with_columns(
            pl.col("user_id", "item_id").cast(ids), TIMES[self.times](pl.col("timestamp"))
        )
        if self.files == 1:
            WRITERS[self.kind](rows, folder / f"log.{self.kind}")
            return folder / f"log.{self.kind}"
        (folder / "log").mkdir()
        size = -(-len(rows) // self.files)
        for number, part in enumerate(rows.iter_slices(size)):
            WRITERS[self.kind](part, folder / "log" / f"part-{number}.{self.kind}")
        return folder / "log"


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    """Few users, items and times, so that rows repeat each other and share times."""
    known: list[list[Any]] = [[1, 2, 3, 10, 20], ["a", "B", "é", "10"], ["7", "007", "8"]]
    ids = st.sampled_from(draw(st.sampled_from(known)))
    step = draw(st.sampled_from([500, 1000, 86_400_000]))
    row = st.tuples(
        ids,
        ids,
        st.integers(0, 12).map(lambda place: START // step * step + place * step),
        st.sampled_from([0.1, 0.2, 0.7, 1.0, 3.0, 5.0, 0.0, -1.0]),
        st.sampled_from(["view", "buy", None]),
        st.sampled_from(["phone", "desk"]),
    )
    columns = ["user_id", "item_id", "timestamp", "weight", "event_type", "device"]
    rows = draw(st.lists(row, min_size=8, max_size=40))
    return pl.DataFrame(rows, schema=columns, orient="row", infer_schema_length=None)


@st.composite
def spellings(draw: st.DrawFn, rows: int) -> Spelling:
    return Spelling(
        draw(st.permutations(range(rows))),
        draw(st.integers(1, 3)),
        draw(st.sampled_from(sorted(WRITERS))),
        draw(st.booleans()),
        draw(st.sampled_from(sorted(TIMES))),
    )


def config_of(source: Path, data: dict[str, Any], **sections: Any) -> Config:
    features = {"context": {"device": {"type": "category"}}}
    return Config.model_validate(
        {"data": {"interactions": str(source), **data}, "features": features, **sections}
    )


def read(
    table: pl.DataFrame, spelling: Spelling, data: dict[str, Any]
) -> tuple[Dataset | None, str]:
    """The data set, or None and why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        source = spelling.write(table, Path(folder))
        try:
            return Dataset.read(config_of(source, data)), ""
        except DataError as error:
            return None, str(error).replace(str(source), "LOG")


def assert_same(first: Interactions, second: Interactions) -> None:
    for name in ("user_num", "item_num", "weight", "timestamp", "nanosecond"):
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None) == (other is None)
        assert one is None or one.tolist() == other.tolist()
    assert first.context["device"].tolist() == second.context["device"].tolist()


@settings(max_examples=60)
@given(
    data=st.data(),
    table=tables(),
    method=st.sampled_from(["global_time", "last_out", "random"]),
    duplicates=st.sampled_from(["max", "sum", "count", "last"]),
)
def test_a_table_is_read_alike_however_it_is_written(
    data: st.DataObject, table: pl.DataFrame, method: str, duplicates: str
) -> None:
    plain = Spelling(list(range(len(table))), 1, "parquet", text_ids=False, times="numbers")
    other = data.draw(spellings(len(table)))
    keys = {
        "split": {"method": method, "validation_fraction": 0, "test_fraction": 0.3},
        "duplicates": duplicates,
        "positive": {"dislikes": "negatives"},
    }
    (first, why), (second, why_not) = (read(table, how, keys) for how in (plain, other))
    assert why == why_not
    if first is None or second is None:
        assert second is first
        return
    assert_series_equal(first.users.ids, second.users.ids)
    assert_series_equal(first.items.ids, second.items.ids)
    assert_series_equal(first.schema.users.values, second.schema.users.values)
    for part in ("train", "test"):
        assert_frame_equal(getattr(first.parts, part), getattr(second.parts, part))
        assert_same(getattr(first, part), getattr(second, part))
    assert first.dislikes is not None
    assert second.dislikes is not None
    assert first.dislikes.values.tolist() == second.dislikes.values.tolist()
    notes = [[n.partition(": ")[2] for n in each.tables.notes] for each in (first, second)]
    assert notes[0] == notes[1]


@pytest.mark.parametrize("method", ["last_out", "random"])
def test_metrics_do_not_depend_on_how_a_table_is_written(method: str, tmp_path: Path) -> None:
    table = pl.DataFrame(
        {
            "user_id": [user for user in range(30) for _ in range(8)],
            "item_id": [
                (user * 7 + place * place) % 23 for user in range(30) for place in range(8)
            ],
            "timestamp": [START + place // 2 * 250 for _ in range(30) for place in range(8)],
            "weight": [1.0 + place % 3 for _ in range(30) for place in range(8)],
            "event_type": "view",
            "device": ["phone", "desk"] * 120,
        }
    )
    order = [(row * 77) % 240 for row in range(240)]
    found = []
    for number, how in enumerate(
        (
            Spelling(list(range(240)), 1, "parquet", text_ids=False, times="numbers"),
            Spelling(order, 3, "csv", text_ids=True, times="text"),
            Spelling(order[::-1], 2, "jsonl", text_ids=True, times="zoned"),
        )
    ):
        (tmp_path / str(number)).mkdir()
        source = how.write(table, tmp_path / str(number))
        config = config_of(
            source, {"split": {"method": method}}, training={"epochs": 1}, evaluation={"k": 5}
        )
        dataset = Dataset.read(config)
        evaluation = measure(fit_part(dataset, None, console=Console(file=StringIO()))[0], dataset)
        assert evaluation is not None
        found.append(evaluation.metrics)
    assert found[0]["recall@5"] > 0
    assert found[0] == found[1] == found[2]
