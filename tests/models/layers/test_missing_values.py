"""What is read where a value is missing that training hardly ever lacked."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console

import twotower as tt
from twotower.config.feature_type import Feature
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.entities import Column, encode_rows, to_column
from twotower.data.synthetic.shop import generate
from twotower.features.category import CategoryConfig
from twotower.features.number import NumberConfig
from twotower.features.timestamp import TimestampConfig
from twotower.models.layers.feature_encoder import FeatureEncoder
from twotower.models.layers.missing_values import (
    AS_MANY,
    LearnsMissing,
    ReadColumn,
    ReadsFeatures,
    impute_missing,
)
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.workflow.training.train import Trained, fit_stages

COLUMNS: dict[str, list[Any]] = {
    "category": ["a", "a", "b", "c"],
    "categories": ["a|b", "a", "b", "c|a"],
    "text": ["red cotton", "blue cotton", "red", "blue"],
    "vector": [[0.0, 1.0], [2.0, 3.0], [1.0, 5.0], [7.0, 0.0]],
}


class Part:
    """A part of a model with one feature."""

    def __init__(self, encoder: FeatureEncoder) -> None:
        self.names: tuple[str, ...] = ("feature",)
        self.encoders = torch.nn.ModuleList([encoder])


def impute(encoder: FeatureEncoder, column: Column, times: int = 1) -> None:
    """From rows (R, ...) that training read so many times each."""
    read = ReadColumn(column, np.full(len(column), times))
    impute_missing(Part(encoder), {"feature": read})


def fitted(kind: str) -> tuple[Feature, FeatureEncoder]:
    """A feature of four rows, none of which lacks a value, and its encoder."""
    document = {
        "data": {"interactions": "interactions.parquet"},
        "features": {"item": {"feature": {"type": kind}}},
    }
    declared = tt.Config.model_validate(document).features.item["feature"]
    assert isinstance(declared, tt.FeatureConfig)
    feature = declared.fit("feature", pl.Series("feature", COLUMNS[kind]))
    encoder = feature.make_encoder(4, torch.Generator().manual_seed(0))
    assert isinstance(encoder, FeatureEncoder)
    return feature, encoder


@pytest.mark.parametrize("kind", list(COLUMNS))
def test_a_value_that_was_never_missing_is_read_as_the_mean(kind: str) -> None:
    feature, encoder = fitted(kind)
    assert isinstance(encoder, LearnsMissing)
    known = to_column(feature.encode(pl.Series("feature", COLUMNS[kind])))
    assert not encoder.is_missing(known).any()
    impute(encoder, known)
    dtype = pl.List(pl.Float64) if kind == "vector" else pl.String
    nothing = to_column(feature.encode(pl.Series("feature", [None, None], dtype=dtype)))
    assert encoder.is_missing(nothing).all()
    with torch.no_grad():
        read, mean = encoder(nothing), encoder(known).mean(dim=0)
    assert mean.abs().max() > 0.01
    torch.testing.assert_close(read, mean.expand(2, -1))


def test_what_many_rows_have_taught_stays() -> None:
    declared = CategoryConfig(type="category")
    column = pl.Series("feature", ["a"] * 100 + [None] * 180)
    feature = declared.fit("feature", column)
    encoder = feature.make_encoder(4, torch.Generator().manual_seed(0))
    taught = torch.full((encoder.width,), 10.0)
    with torch.no_grad():
        encoder.missing.copy_(taught)
        mean = encoder(torch.from_numpy(feature.encode(pl.Series("feature", ["a"]))))[0]
    impute(encoder, torch.from_numpy(feature.encode(column)), times=3)
    share = AS_MANY / (AS_MANY + 3 * 180)
    torch.testing.assert_close(encoder.missing.data, share * mean + (1 - share) * taught)


def test_few_rows_without_a_value_are_found_among_many() -> None:
    """The mean is that of a sample, the count is not."""
    declared = CategoryConfig(type="category")
    column = pl.Series("feature", ["a"] * 300_000 + [None] + ["a"] * 100)
    feature = declared.fit("feature", column)
    encoder = feature.make_encoder(4, torch.Generator().manual_seed(0))
    with torch.no_grad():
        encoder.missing.fill_(10.0)
    impute(encoder, torch.from_numpy(feature.encode(column)), times=1000)
    assert encoder.missing.min() > 9


def test_without_a_known_value_or_a_row_nothing_changes() -> None:
    feature = CategoryConfig(type="category").fit("feature", pl.Series("feature", ["a", None]))
    encoder = feature.make_encoder(4, None)
    for rows in (
        pl.Series("feature", [None], dtype=pl.String),
        pl.Series("feature", [], pl.String),
    ):
        impute(encoder, torch.from_numpy(feature.encode(rows)))
    assert not encoder.missing.any()


def test_numbers_and_times_that_were_never_missing_set_no_flag() -> None:
    """The flag has a weight in the layer behind it that no row has trained."""
    ages = NumberConfig(type="number", num_bins=2)
    complete = ages.fit("age", pl.Series("age", [20.0, 30.0, 40.0]))
    nothing = pl.Series("age", [None], dtype=pl.Float64)
    assert complete.encode(nothing).tolist() == [[0.0, 0.0, 0.0]]
    with_gaps = ages.fit("age", pl.Series("age", [20.0, None, 40.0]))
    assert with_gaps.encode(nothing).tolist() == [[0.0, 1.0, 0.0]]
    rows = pl.Series("age", [20.0, 30.0, 40.0])
    for feature, known in ((complete, rows), (with_gaps, pl.concat([rows, nothing]))):
        encoder = feature.make_encoder(4, torch.Generator().manual_seed(0))
        impute(encoder, torch.from_numpy(feature.encode(known)))
        with torch.no_grad():
            read = encoder(torch.from_numpy(feature.encode(nothing)))[0, 2:]
            mean = encoder(torch.from_numpy(feature.encode(rows)))[:, 2:].mean(dim=0)
        torch.testing.assert_close(read, mean if feature is complete else torch.zeros(8))
        assert ages.load("age", feature.save()) == feature
    times = TimestampConfig(type="timestamp")
    written = pl.Series("at", ["2024-05-01", "2024-06-01"])
    gap = pl.Series("at", [None], dtype=pl.String)
    assert times.fit("at", written).encode(gap)[0, 7] == 0
    assert times.fit("at", pl.concat([written, gap])).encode(gap)[0, 7] == 1
    empty = ages.fit("age", nothing)
    assert empty.encode(nothing)[0, 1] == 1, "nothing is known of the mean"


@pytest.mark.parametrize("stages", ["towers", "ranker"])
def test_a_visitor_of_whom_no_feature_is_known_is_read_as_an_average_user(
    tmp_path: Path, stages: str
) -> None:
    """All users of training have an age and a region. A model that reads 0 in the place of the
    region would put a visitor whose region is not known far from everybody."""
    dataset, found = shop(tmp_path, ranker=stages == "ranker")
    served = found.recommender.served
    table = dataset.users
    everybody = np.arange(table.first_known, table.end_warm)
    known = encode_rows(dataset.schema, "user", table.frame[everybody].with_columns(user_id=None))
    nobody = encode_rows(dataset.schema, "user", pl.DataFrame({"user_id": ["new"]}))
    part: ReadsFeatures = served.towers.query_tower
    if stages == "ranker":
        assert isinstance(served.ranker, NeuralRanker)
        part = served.ranker.model.user_part
    with torch.no_grad():
        for name, encoder in zip(part.names, part.encoders, strict=True):
            if name != "id":
                read, mean = encoder(nobody[name])[0], encoder(known[name]).mean(dim=0)
                torch.testing.assert_close(read, mean, atol=1e-3, rtol=1e-3)
                assert mean.norm() > 0.01 or name == "age", "the mean age is 0"


def shop(folder: Path, *, ranker: bool) -> tuple[Dataset, Trained]:
    """The synthetic shop, with features of users."""
    made = generate(num_users=200, num_items=80, num_interactions=4_000, seed=0)
    made.interactions.write_parquet(folder / "interactions.parquet")
    made.users.write_parquet(folder / "users.parquet")
    config = folder / "twotower.toml"
    config.write_text(
        f"""
[data]
interactions = "interactions.parquet"
users = "users.parquet"
[features.user]
age = {{type = "number"}}
region = {{type = "category"}}
[retriever]
embedding_dim = 8
{"[ranker]" if ranker else ""}
[training]
epochs = 2
""",
        encoding="utf-8",
    )
    dataset = Dataset.read(tt.load_config(config))
    assert not made.users["region"].has_nulls()
    return dataset, fit_stages(dataset, None, console=Console(file=StringIO()))
