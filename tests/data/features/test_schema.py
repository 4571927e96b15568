"""The schema: fitted on training alone, kept on disk whole."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests.data.content import png, work
from tests.data.encoded import same
from tests.data.small_shop import FEATURES, ITEMS, TEST, TRAIN, USERS, features, schema
from twotower.config import RetrieverConfig
from twotower.data.dataset.entities import EntityTable
from twotower.data.features.schema import SIDES, Schema
from twotower.data.features.vocabulary import Vocabulary
from twotower.errors import DataError
from twotower.features.categories import CategoriesFeature
from twotower.features.category import CategoryFeature
from twotower.features.number import NumberFeature
from twotower.features.text import TextFeature
from twotower.models.retriever.two_tower import TwoTower

__all__ = ["work"]


def test_ids_of_training_alone() -> None:
    fitted = schema()
    assert fitted.users.values.to_list() == ["u1", "u2", "u9"]
    assert fitted.items.values.to_list() == ["i1", "i2", "i4"]
    assert fitted.vocabulary("user") is fitted.users
    assert fitted.vocabulary("item") is fitted.items


def test_what_only_a_test_user_or_item_has_is_unknown() -> None:
    fitted = schema()
    city, age = fitted.features["user"]["city"], fitted.features["user"]["age"]
    genres = fitted.features["item"]["genres"]
    assert isinstance(city, CategoryFeature)
    assert isinstance(age, NumberFeature)
    assert isinstance(genres, CategoriesFeature)
    assert city.vocabulary.values.to_list() == ["Oslo", "Rome"]
    assert city.encode(USERS["city"]).tolist() == [2, 3, 0, 1]  # Lima: OOV
    assert (age.mean, age.deviation) == (30.0, 10.0)  # of 20 and 40, not of 99
    assert genres.vocabulary.values.to_list() == ["crime", "drama"]
    assert genres.encode(ITEMS["genres"]).tolist() == [[3, 1], [3], [2, 3]]


def test_contexts_of_training_alone() -> None:
    device = schema().features["context"]["device"]
    assert isinstance(device, CategoryFeature)
    nums = device.encode(TEST["device"])
    assert nums[[0, 2]].tolist() == [4, 3]
    assert nums[1] in (1, 2)  # the watch


def test_the_id_comes_first_and_can_be_left_out() -> None:
    assert list(schema().features["user"]) == ["id", "age", "city"]
    without = schema(user={**FEATURES["user"], "id": {"enabled": False, "num_oov": 3}})
    assert list(without.features["user"]) == ["age", "city"]
    assert without.users.first_known == 4


def test_save_and_load_encode_alike(tmp_path: Path) -> None:
    fitted = schema()
    fitted.save(tmp_path / "schema")
    loaded = Schema.load(tmp_path / "schema")
    assert loaded.config == fitted.config
    assert loaded.users == fitted.users
    assert loaded.items == fitted.items
    tables = {"user": pl.concat([USERS, USERS.clear()]), "item": ITEMS, "context": TEST}
    for side in SIDES:
        assert list(loaded.features[side]) == list(fitted.features[side])
        for name, feature in fitted.features[side].items():
            other = loaded.features[side][name]
            column = tables[side][feature.column]
            assert other == feature
            assert same(other.encode(column), feature.encode(column))


CONTENT = {
    "plot": {"type": "text", "min_count": 1, "num_buckets": 100},
    "cover": {"type": "image", "size": 8},
    "looks": {"type": "vector"},
    "rank": {"type": "number", "num_bins": 2},
}


def test_save_and_load_text_images_and_vectors(tmp_path: Path, work: Path) -> None:
    items = pl.DataFrame(
        {
            "item_id": ["i1", "i2", "i3"],
            "plot": ["a king", None, "a ship"],
            "cover": [png("red"), b"broken", None],
            "looks": [[1.0, 2.0], None, [3.0, 4.0]],
            "rank": [1, 2, 3],
        }
    )
    rows = TRAIN.with_columns(pl.Series("said", ["a", "b", None, "a b"]))
    declared = features(
        user={"city": {"type": "text", "encoder": "bag", "min_count": 1}},
        item=CONTENT,
        context={"said": {"type": "text", "min_count": 1}},
    )
    fitted = Schema.fit(declared, interactions=rows, users=USERS, items=items)
    fitted.save(tmp_path / "schema")
    assert {path.suffix for path in (tmp_path / "schema").iterdir()} == {".json", ".arrow", ".npy"}
    loaded = Schema.load(tmp_path / "schema")
    assert loaded.config == fitted.config
    tables = {"user": USERS, "item": items, "context": rows}
    for side in SIDES:
        for name, feature in fitted.features[side].items():
            other = loaded.features[side][name]
            column = tables[side][feature.column]
            assert other == feature
            assert same(other.encode(column), feature.encode(column))
    plot = fitted.features["item"]["plot"]
    assert isinstance(plot, TextFeature)
    # Only i3 has a ship, and i3 is in no training row.
    assert [len(row) for row in plot.encode(items["plot"])] == [3, 0, 1]
    towers = TwoTower(RetrieverConfig(embedding_dim=4), loaded)
    table = EntityTable(loaded, "item", items)
    vectors = towers.item_vectors(table.features)
    assert vectors.shape[0] == len(table)
    assert vectors.isfinite().all()


def test_no_file_is_named_by_a_users_text(tmp_path: Path) -> None:
    odd = {"../../evil": {"type": "category", "column": "city"}}
    fitted = schema(user=odd)
    fitted.save(tmp_path / "deep" / "er")
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert list(Schema.load(tmp_path / "deep" / "er").features["user"]) == ["id", "../../evil"]


def test_the_document_is_json_and_nothing_else(tmp_path: Path) -> None:
    schema().save(tmp_path)
    document = json.loads((tmp_path / "schema.json").read_text())
    assert document["num_oov"] == {"user": 1, "item": 1}
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".arrow"}


def test_a_wrong_value_names_the_files_row_even_of_a_user_outside_training() -> None:
    users = USERS.with_columns(pl.Series("age", ["?", "20", "40", "99"]))
    with pytest.raises(DataError) as caught:
        Schema.fit(
            features(), interactions=TRAIN, users=users, items=ITEMS, files={"user": "users.csv"}
        )
    assert str(caught.value) == (
        "users.csv, row 1, column 'age': is declared as a number, but this value is not a number "
        "(found '?'). Fix: correct the value, leave the cell empty, or declare 'age' a category."
    )
    users = USERS.with_columns(pl.Series("age", ["1", "20", "40", "old"]))
    with pytest.raises(DataError, match=r"^users\.csv, row 4, column 'age'"):
        Schema.fit(
            features(), interactions=TRAIN, users=users, items=ITEMS, files={"user": "users.csv"}
        )


def test_a_missing_table() -> None:
    with pytest.raises(DataError) as caught:
        Schema.fit(features(), interactions=TRAIN, users=None, items=ITEMS)
    assert str(caught.value) == (
        "features.user.age needs a users table, and none is given. Fix: set data.users, or remove "
        "the feature."
    )


def test_a_missing_column() -> None:
    with pytest.raises(DataError) as caught:
        Schema.fit(
            features(), interactions=TRAIN, users=USERS, items=ITEMS.rename({"genres": "genre"})
        )
    assert str(caught.value) == (
        "column 'genres': the items table has no such column, did you mean 'genre'? Fix: set "
        "features.item.genres.column to one of: item_id, genre, since."
    )


def test_categories_of_older_bundles_were_integers(tmp_path: Path) -> None:
    declared = features(item={"year": {"type": "category"}}, user={}, context={})
    items = pl.DataFrame({"item_id": ["i1", "i2"], "year": [1999, 2024]})
    fitted = Schema.fit(declared, interactions=TRAIN, users=None, items=items)
    fitted.save(tmp_path)
    Vocabulary(pl.Series([1999, 2024])).save(tmp_path / "item_1.arrow")
    year = Schema.load(tmp_path).features["item"]["year"]
    assert isinstance(year, CategoryFeature)
    assert year == fitted.features["item"]["year"]
    for cells in (pl.Series([2024, 7]), pl.Series(["2024", "2024.0"]), pl.Series([2024.0, 7.5])):
        assert year.encode(cells).tolist() == [3, 1]


def test_the_repr_is_one_line_and_a_notebook_shows_a_table() -> None:
    found = schema(
        user={"age": {"type": "number"}, "history": {"type": "history", "encoder": "mean"}},
        item={"genres": {"type": "categories", "separator": "|"}},
    )
    assert repr(found) == (
        "Schema(3 users, 3 items; user: id, age (number), history (history, mean); "
        "item: id, genres (categories))"
    )
    page = found._repr_html_()
    assert "<caption>3 users and 3 items in training</caption>" in page
    assert '<tr><th scope="row">item</th><td>genres</td><td>categories</td></tr>' in page
