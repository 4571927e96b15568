"""Vectors that others made: of one length, finite, as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from twotower.config import FeaturesConfig, load_config
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.entities import tensor_of
from twotower.data.features.vectors import read_vectors
from twotower.errors import DataError
from twotower.features.vector import VectorConfig, VectorFeature

PLAIN = VectorConfig(type="vector")


def vector(values: list[Any], **config: Any) -> VectorFeature:
    entry = VectorConfig.model_validate({"type": "vector", **config})
    return entry.fit("looks", pl.Series("looks", values))


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([[1.0, 2.0], None, [], [3.0, 4.0]]),
        pl.Series([[1, 2], None, [], [3, 4]]),
        pl.Series([[1, 2], None, None, [3, 4]], dtype=pl.Array(pl.Float32, 2)),
    ],
)
def test_as_they_are_with_a_flag(column: pl.Series) -> None:
    feature = PLAIN.fit("looks", column)
    encoded = feature.encode(column)
    assert encoded.dtype == np.float32
    assert encoded.tolist() == [[1, 2, 0], [0, 0, 1], [0, 0, 1], [3, 4, 0]]
    assert feature.save().state == {"dim": 2}


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([None, None]),
        pl.Series([[], None], dtype=pl.List(pl.Float32)),
        pl.Series([[], []], dtype=pl.List(pl.Null)),
    ],
)
def test_no_vector_at_all(column: pl.Series) -> None:
    assert vector([[1.0, 2.0, 3.0]]).encode(column).tolist() == [[0, 0, 0, 1]] * 2
    assert PLAIN.fit("looks", column).dim == 1
    assert VectorConfig(type="vector", dim=5).fit("looks", column).dim == 5


def test_zero_rows() -> None:
    none = pl.Series([], dtype=pl.List(pl.Float32))
    assert vector([[1.0, 2.0]]).encode(none).shape == (0, 3)


def test_normalize() -> None:
    feature = vector([[3.0, 4.0]], normalize=True)
    encoded = feature.encode(pl.Series([[3.0, 4.0], [0.0, 0.0], [3e30, 4e30], None]))
    expected = np.array([[0.6, 0.8, 0], [0, 0, 0], [0.6, 0.8, 0], [0, 0, 1]], dtype=np.float32)
    np.testing.assert_allclose(encoded, expected, rtol=1e-6)


@settings(deadline=None)
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 4)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_any_finite_vector_is_encoded_finite(values: Any) -> None:
    column = pl.Series("looks", values.tolist(), dtype=pl.List(pl.Float32))
    for normalize in (False, True):
        feature = vector(values.tolist(), normalize=normalize)
        encoded = feature.encode(column)
        assert np.isfinite(encoded).all()
        if normalize:
            for row, given_row in zip(encoded[:, :-1], values, strict=True):
                assert float(np.linalg.norm(row)) == pytest.approx(float(given_row.any()), abs=1e-5)


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (
            PLAIN,
            [None, [1.0, 2.0], [1.0, 2.0], [1.0]],
            "items.parquet, row 4, column 'looks': contains a vector of 1 numbers, and row 2 holds "
            "2. Fix: write vectors of one length, and leave the cell empty where there is none.",
        ),
        (
            VectorConfig(type="vector", dim=3),
            [[1.0, 2.0]],
            "items.parquet, row 1, column 'looks': contains a vector of 2 numbers, and the feature "
            "takes 3. Fix: write vectors of one length, and leave the cell empty where there is "
            "none.",
        ),
        (
            PLAIN,
            [[1.0, 2.0], [1.0, float("nan")], [float("inf"), 1.0]],
            "items.parquet, row 2, column 'looks': contains a vector with a number that is missing "
            "or not finite; it is the first of 2 such rows (found [1.0, nan]). Fix: correct the "
            "vector, or leave the cell empty.",
        ),
        (
            PLAIN,
            [[1.0, None]],
            "items.parquet, row 1, column 'looks': contains a vector with a number that is missing "
            "or not finite (found [1.0, None]). Fix: correct the vector, or leave the cell empty.",
        ),
        (
            PLAIN,
            ["0.5, 0.25"],
            "items.parquet, column 'looks': is declared as a vector, but holds values of type "
            "String. Fix: write lists of numbers (Parquet, JSON Lines), or name a .npy file with "
            "'file'.",
        ),
    ],
)
def test_what_is_refused(config: VectorConfig, values: list[Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        config.check(pl.Series("looks", values), file="items.parquet")
    assert str(caught.value) == message


def test_rows_that_are_not_known_are_not_named() -> None:
    with pytest.raises(
        DataError, match=r"^column 'looks': contains a vector of 1 numbers, and anoth"
    ):
        PLAIN.check(pl.Series("looks", [[1.0, 2.0], [1.0]]), rows=False)


def test_another_length_than_in_training() -> None:
    with pytest.raises(DataError, match="of 2 numbers, and the feature takes 3"):
        vector([[1.0, 2.0, 3.0]]).encode(pl.Series([[1.0, 2.0]]))


# --- files --------------------------------------------------------------------------------------


def test_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6, dtype=np.float64).reshape(3, 2))
    column = read_vectors(str(tmp_path / "a.npy"), rows=3, table="items.csv", name="looks")
    assert column.name == "looks"
    assert column.to_list() == [[0, 1], [2, 3], [4, 5]]


def test_files_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"

    def message() -> str:
        with pytest.raises(DataError) as caught:
            read_vectors(str(path), rows=3, table="items.csv", name="looks")
        return str(caught.value).removeprefix(f"{path}: ")

    assert message() == "no such file. Fix: correct 'file'."
    path.write_bytes(b"no array")
    assert message().startswith("cannot be read as a .npy file: ")
    np.save(path, np.zeros((4, 2)))
    assert message() == (
        "has 4 rows, and items.csv has 3. Fix: write a row for each row of the table, in its order."
    )
    np.save(path, np.zeros(3))
    assert message() == (
        "contains no array of numbers (rows, dim), but float64 of shape (3,). Fix: write it with "
        "numpy.save."
    )
    np.save(path, np.array([["a"]] * 3))
    assert message().startswith("contains no array of numbers (rows, dim), but <U1 of shape (3, 1)")


def test_a_context_has_no_file() -> None:
    with pytest.raises(ValueError, match=r"features\.context\.looks: 'file' is for users and item"):
        FeaturesConfig.model_validate({"context": {"looks": {"type": "vector", "file": "a.npy"}}})


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A shop whose items' vectors lie in a file; the file's second row repeats the first."""
    pl.DataFrame(
        {
            "user_id": [1, 1, 2, 2, 3, 3] * 2,
            "item_id": [7, 8, 9, 7, 8, 9] * 2,
            "timestamp": range(12),
        }
    ).write_csv(tmp_path / "log.csv")
    pl.DataFrame({"item_id": [9, 9, 7, 8], "year": [1, 1, 2, 3]}).write_csv(tmp_path / "items.csv")
    np.save(tmp_path / "looks.npy", np.array([[9, 0], [9, 0], [7, 0], [8, 0.5]]))
    (tmp_path / "twotower.toml").write_text(
        '[data]\ninteractions = "log.csv"\nitems = "items.csv"\n'
        "[data.split]\ntest_fraction = 0.3\n"
        '[features.item.looks]\ntype = "vector"\nfile = "looks.npy"\n'
    )
    return tmp_path


def test_a_files_rows_follow_their_items(shop: Path) -> None:
    config = load_config(shop / "twotower.toml")
    assert config.features.item["looks"].file == str(shop / "looks.npy")  # type: ignore[union-attr]
    items = Dataset.read(config).items
    assert items.ids[-3:].to_list() == [7, 8, 9]
    looks = tensor_of(items.features, "looks")
    assert looks[-3:].tolist() == [[7, 0, 0], [8, 0.5, 0], [9, 0, 0]]
    assert looks[: items.first_known, -1].all()


def test_rows_that_differ_in_their_vectors_alone(shop: Path) -> None:
    np.save(shop / "looks.npy", np.array([[9, 0], [9, 1], [7, 0], [8, 0.5]]))
    with pytest.raises(DataError, match="the first, 9, stands in rows 1 and 2"):
        Dataset.read(shop / "twotower.toml")


def test_a_column_of_the_files_name_is_there_already(shop: Path) -> None:
    config = load_config(shop / "twotower.toml", ['features.item.looks.column="year"'])
    with pytest.raises(DataError) as caught:
        Dataset.read(config)
    assert str(caught.value) == (
        f"{shop / 'items.csv'}, column 'year': has this column, and {shop / 'looks.npy'} is to be "
        "read as it. Fix: give the feature another name, or remove its 'file'."
    )
