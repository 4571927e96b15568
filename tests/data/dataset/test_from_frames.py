from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.data.encoded import same
from twotower.config import Config, FeaturesConfig, RetrieverConfig, SplitConfig, load_config
from twotower.data.dataset.dataset import Dataset
from twotower.errors import ConfigError, DataError

LOG = pl.DataFrame(
    {
        "user_id": [f"u{n % 9}" for n in range(120)],
        "item_id": [n * 7 % 23 for n in range(120)],
        "timestamp": [1_700_000_000 + 3600 * (n // 2) for n in range(120)],
        "weight": [1.0 + n % 3 for n in range(120)],
        "device": [("phone", "desk", None)[n % 3] for n in range(120)],
    }
)
USERS = pl.DataFrame({"user_id": [f"u{n}" for n in range(10)], "age": [None, *range(20, 29)]})
ITEMS = pl.DataFrame(
    {
        "item_id": range(25),
        "title": [f"Title {n % 5} of {n}" for n in range(25)],
        "genres": [["a", "b"][: n % 3] for n in range(25)],
        "added": [dt.datetime(2023, 1, 1 + n, tzinfo=dt.UTC) for n in range(25)],
        "look": [[n / 10, 1.0] for n in range(25)],
    }
)
FEATURES: dict[str, Any] = {
    "user": {"age": {"type": "number"}, "history": {"type": "history", "encoder": "mean"}},
    "item": {
        "title": {"type": "text"},
        "genres": {"type": "categories"},
        "added": {"type": "timestamp"},
        "look": {"type": "vector"},
    },
    "context": {"device": {"type": "category"}},
}


def as_pandas(frame: pl.DataFrame) -> Any:
    return pd.DataFrame({name: pd.Series(frame[name].to_list()) for name in frame.columns})


KINDS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "polars": lambda frame: frame,
    "lazy": lambda frame: frame.lazy(),
    "pandas": as_pandas,
    "arrow": lambda frame: frame.to_arrow(),
    "hugging face": lambda frame: datasets.Dataset(frame.to_arrow()),
}


def by_file(folder: Path, *, split: str = "", log: pl.DataFrame = LOG) -> Dataset:
    for name, frame in (("log", log), ("users", USERS), ("items", ITEMS)):
        frame.write_parquet(folder / f"{name}.parquet")
    (folder / "twotower.toml").write_text(f"""
[data]
interactions = "log.parquet"
users = "users.parquet"
items = "items.parquet"
{split}
""")
    config = load_config(folder / "twotower.toml")
    features = FeaturesConfig.model_validate(FEATURES)
    return Dataset.read(config.model_copy(update={"features": features}))


def assert_same(found: Dataset, expected: Dataset) -> None:
    """The same vocabularies, parts, encoded features and notes."""
    for side in ("user", "item"):
        vocabularies = [data.schema.vocabulary(side).values.to_list() for data in (found, expected)]
        assert vocabularies[0] == vocabularies[1]
    for table, like in ((found.users, expected.users), (found.items, expected.items)):
        assert table.ids.to_list() == like.ids.to_list()
        assert table.features.keys() == like.features.keys()
        assert all(same(table.features[n], like.features[n]) for n in like.features)
    for one, other in zip(found.split(), expected.split(), strict=True):
        assert len(other)
        for field in ("user_num", "item_num", "weight", "timestamp", "event_num"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
        assert one.context.keys() == other.context.keys()
        assert all(same(one.context[n], other.context[n]) for n in other.context)
    assert found.parts.leak == expected.parts.leak


@pytest.mark.parametrize("kind", KINDS)
def test_frames_give_the_same_dataset_as_their_files(kind: str, tmp_path: Path) -> None:
    convert, log = KINDS[kind], pl.concat([LOG, LOG[-5:]])
    found = Dataset.from_frames(convert(log), convert(USERS), convert(ITEMS), features=FEATURES)
    expected = by_file(tmp_path, log=log)
    assert_same(found, expected)
    file = str(tmp_path / "log.parquet")
    assert found.notes == tuple(n.replace(file, "interactions frame") for n in expected.notes)
    assert found.notes[0].startswith("interactions frame: 5 of 125 rows repeat ")


def test_text_and_types_give_the_same_dataset(tmp_path: Path) -> None:
    LOG.write_csv(tmp_path / "log.csv")
    expected = Dataset.read(
        Config.model_validate({"data": {"interactions": str(tmp_path / "log.csv")}})
    )
    assert_same(Dataset.from_frames(LOG), expected)


def test_own_parts(tmp_path: Path) -> None:
    train, validation, test = LOG[:80], LOG[80:100], LOG[100:]
    for name, frame in (("validation", validation), ("test", test)):
        frame.write_parquet(tmp_path / f"{name}.parquet")
    split = f"""
[data.split]
test = "{tmp_path}/test.parquet"
validation = "{tmp_path}/validation.parquet"
"""
    found = Dataset.from_frames(
        as_pandas(train),
        USERS.to_arrow(),
        ITEMS,
        validation=validation.lazy(),
        test=datasets.Dataset(test.to_arrow()),
        features=FEATURES,
    )
    assert [len(part) for part in found.split()] == [80, 20, 20]
    assert found.parts.method == "given"
    assert_same(found, by_file(tmp_path, split=split, log=train))


def test_with_a_test_part_alone_validation_is_cut_from_the_rest() -> None:
    found = Dataset.from_frames(LOG[:100], test=LOG[100:], split={"validation_fraction": 0.2})
    assert [len(part) for part in found.split()] == [80, 20, 20]


def test_a_refit_learns_from_the_validation_rows_too() -> None:
    found = Dataset.from_frames(LOG).refit("train")
    assert (len(found.train), len(found.validation)) == (108, 0)


def test_columns_and_other_settings() -> None:
    renamed = LOG.rename({"user_id": "customer", "weight": "stars"}).drop("timestamp")
    found = Dataset.from_frames(
        renamed,
        USERS.rename({"user_id": "customer"}),
        columns={"user_id": "customer", "weight": "stars"},
        positive={"min_weight": 2},
        split={"method": "random", "seed": 3},
        evaluation={"k": 5},
        training={"epochs": 2},
    )
    expected = LOG.filter(pl.col("weight") >= 2).unique(["user_id", "item_id"])
    assert sum(map(len, found.split())) == len(expected)
    assert (found.config.evaluation.k, found.config.training.epochs) == (5, 2)
    assert found.config.data.split.seed == 3
    assert found.parts.method == "random"


def test_settings_may_be_config_sections() -> None:
    by_dict = Dataset.from_frames(
        LOG, USERS, ITEMS, features=FEATURES, split={"method": "random"}, retriever={"hidden": [4]}
    )
    by_section = Dataset.from_frames(
        LOG,
        USERS,
        ITEMS,
        features=FeaturesConfig.model_validate(FEATURES),
        split=SplitConfig(method="random"),
        retriever=RetrieverConfig(hidden=(4,)),
    )
    assert by_section.config == by_dict.config


@pytest.mark.parametrize(
    "retriever", [{"preset": "sequential"}, RetrieverConfig(preset="sequential")]
)
def test_a_preset_fills_in_what_is_not_set(retriever: Any) -> None:
    found = Dataset.from_frames(
        LOG, features={"item": {"id": {"dropout": 0.2}}}, retriever=retriever
    )
    assert found.config.features.history is not None
    assert found.config.features.history.encoder == "transformer"
    assert found.config.retriever.loss == "sampled_softmax"
    assert found.config.features.item["id"].model_dump()["dropout"] == 0.2


def test_features_from_columns_of_the_interactions() -> None:
    log = LOG.with_columns(kind=pl.col("item_id") % 3)
    found = Dataset.from_frames(
        log,
        items_from_interactions=["kind"],
        features={"item": {"kind": {"type": "category"}}},
    )
    assert found.tables.items is not None
    assert_frame_equal(
        found.tables.items.sort("item_id"),
        pl.DataFrame({"item_id": range(23), "kind": [n % 3 for n in range(23)]}),
    )


# --- errors -----------------------------------------------------------------------------------


def with_value(frame: pl.DataFrame, row: int, name: str, value: Any) -> pl.DataFrame:
    values = frame[name].to_list()
    values[row - 1] = value
    return frame.with_columns(pl.Series(name, values, strict=False))


Name = Literal["interactions", "users", "items", "validation", "test"]


@pytest.mark.parametrize(
    ("name", "frame", "expected"),
    [
        (
            "interactions",
            LOG.drop("item_id"),
            "interactions frame, column 'item_id': no such column, did you mean 'user_id'? There "
            "are: user_id, timestamp, weight, device. Fix: set data.columns.item_id to the name "
            "that this table uses.",
        ),
        (
            "interactions",
            with_value(LOG, 3, "user_id", None),
            "interactions frame, column 'user_id': 1 of 120 rows have no id: row 3. Fix: fill in "
            'their ids, or set data.missing_ids = "leave_out".',
        ),
        (
            "interactions",
            with_value(LOG, 7, "weight", float("nan")),
            "interactions frame, row 7, column 'weight': 1 of 120 weights are not finite numbers "
            "(found nan). Fix: correct the value, or remove the row.",
        ),
        (
            "test",
            with_value(LOG, 2, "timestamp", None),
            "test frame, row 2, column 'timestamp': 1 of 120 rows have no time. Fix: fill in or "
            "remove these rows, or rename the column so that no times are used.",
        ),
        (
            "validation",
            LOG.drop("device"),
            "validation frame, column 'device': no such column. There are: user_id, item_id, "
            "timestamp, weight. Fix: correct the name of the column in the config.",
        ),
        (
            "items",
            pl.concat([ITEMS, ITEMS[3:4].with_columns(title=pl.lit("x"))]),
            "items frame, column 'item_id': 1 id has rows that differ; the first, 3, stands in "
            "rows 4 and 26. Fix: keep one row per id.",
        ),
        (
            "users",
            USERS.with_columns(age=pl.Series(["old", *map(str, range(9))])),
            "users frame, row 1, column 'age': is declared as a number, but this value is not a "
            "number (found 'old'). Fix: correct the value, leave the cell empty, or declare 'age' "
            "a category.",
        ),
    ],
)
def test_an_error_names_frame_row_column_value_and_fix(
    name: Name, frame: pl.DataFrame, expected: str
) -> None:
    given: dict[str, Any] = {"interactions": LOG, "users": USERS, "items": ITEMS}
    if name in ("test", "validation"):
        given |= {"test": LOG, "validation": LOG}
    with pytest.raises(DataError) as caught:
        Dataset.from_frames(**given | {name: frame}, features=FEATURES)
    assert str(caught.value) == expected


def test_problems_of_all_frames_are_listed() -> None:
    with pytest.raises(DataError) as caught:
        Dataset.from_frames(
            with_value(LOG, 1, "user_id", None),
            with_value(USERS, 1, "user_id", None),
            ITEMS.drop("item_id"),
        )
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "interactions frame, column 'user_id'",
        "users frame, column 'user_id'",
        "items frame, column 'item_id'",
    ]


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        Dataset.from_frames(LOG, spilt={"method": "random"})
    assert str(caught.value) == (
        "unknown setting 'spilt', did you mean 'split'? "
        "Fix: name a key of [data] or a section of the config."
    )


def test_a_wrong_value_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        Dataset.from_frames(LOG, duplicates="min")
    assert str(caught.value) == (
        "data.duplicates: Input should be 'max', 'sum', 'count' or 'last' (found 'min')."
    )


def test_validation_needs_a_test_part() -> None:
    with pytest.raises(ConfigError) as caught:
        Dataset.from_frames(LOG[:100], validation=LOG[100:])
    assert str(caught.value) == (
        "'validation' is given without 'test'. Fix: give a test frame, too, or give neither, so "
        "that both are cut from the interactions."
    )


def test_a_declared_feature_needs_its_frame() -> None:
    with pytest.raises(DataError) as caught:
        Dataset.from_frames(LOG, features={"user": {"age": {"type": "number"}}})
    assert str(caught.value) == (
        "features.user.age needs a users table, and none is given. "
        "Fix: set data.users, or remove the feature."
    )
