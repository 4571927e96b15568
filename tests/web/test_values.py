"""What a value of a request means: the same as the cell of a CSV file that is spelled like it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from tests.web.server import Server, ids
from twotower.config import load_config
from twotower.errors import DataError
from twotower.workflow.add_items import add_items
from twotower.workflow.training.train import train_bundle

USERS = ["1.10", "1.1", "007", "7", "4.0", "4", "-0", "0"]
VERSIONS = ["9.1", "9.10", "10.0", "10", "10.10"]
CONFIG = """
[data]
interactions = "log.csv"
items = "items.csv"

[features.item.new]
type = "category"

[features.item.code]
type = "category"

[features.item.price]
type = "number"

[features.context.version]
type = "category"

[features.context.is_app]
type = "category"

[retriever]
embedding_dim = 8

[training]
epochs = 2
"""


def write_tables(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = 400
    log = {
        "user_id": [USERS[n % len(USERS)] for n in range(rows)],
        "item_id": [f"i{n}" for n in rng.integers(0, 20, rows)],
        "timestamp": [str(1_714_564_800 + n) for n in range(rows)],
        "version": [VERSIONS[n] for n in rng.integers(0, len(VERSIONS), rows)],
        "is_app": [("True", "False")[n] for n in rng.integers(0, 2, rows)],
    }
    pl.DataFrame(log).write_csv(folder / "log.csv")
    items = {
        "item_id": [f"i{n}" for n in range(20)],
        "new": ["True" if n % 4 else "False" for n in range(20)],
        "sale": ["TRUE" if n % 2 else "false" for n in range(20)],
        "code": [*(f"{n:02}" for n in range(19)), "A7"],
        "price": [f"€{n}.50" for n in range(20)],
        "stock": [str(n) for n in range(20)],
    }
    pl.DataFrame(items).write_csv(folder / "items.csv")
    config = folder / "twotower.toml"
    config.write_text(CONFIG, encoding="utf-8")
    return config


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("values")
    config = load_config(write_tables(folder))
    train_bundle(config, folder / "bundle", console=Console(file=io.StringIO()))
    return folder / "bundle"


@pytest.fixture(scope="module")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(bundle, tmp_path_factory.mktemp("events") / "events.sqlite")
    yield started
    started.stop()


@pytest.mark.parametrize("user_id", USERS)
def test_ids_are_known_by_their_spelling(user_id: str, server: Server) -> None:
    assert server.recommend(user_id)["path"] == "known"


@pytest.mark.parametrize("user_id", ["1.100", "07", " 7", "7 ", "+7", "7.0", "1"])
def test_other_spellings_are_other_ids(user_id: str, server: Server) -> None:
    assert server.recommend(user_id)["path"] != "known"


def test_an_integer_is_the_text_that_spells_it(server: Server) -> None:
    as_text, as_number = server.recommend("7"), server.recommend(7)  # type: ignore[arg-type]
    assert as_text["items"] == as_number["items"]


def test_an_integer_and_its_text_are_one_item(server: Server) -> None:
    put = [{"item_id": 77, "columns": {"price": 1}}, {"item_id": "77", "columns": {"price": 2}}]
    answer = server.put("/v1/items", {"items": put})
    assert (answer["added"], answer["changed"]) == (1, 0)
    ranked = server.post("/v1/rank", {"user_id": "7", "items": [77, "77", "i1"]})
    assert sorted(map(str, ids(ranked))) == ["77", "i1"]
    assert server.post("/v1/rank", {"items": [88, "88"]})["unknown"] == ["88"]
    both: list[dict[str, Any]] = [
        {"item_id": 77, "columns": {"price": 3}},
        {"item_id": "77", "hidden": True},
    ]
    assert server.ask("PATCH", "/v1/items", 200, json={"items": both})["changed"] == 1
    found = server.get("/v1/items/77")
    assert (found["columns"]["price"], found["hidden"]) == (3, True)
    server.delete("/v1/items/77")


def answered(server: Server, **context: Any) -> list[tuple[str, float]]:
    """The answer to a user in a context: items with scores."""
    found = server.recommend("7", context=context, mask_seen=False)
    return [(item["item_id"], item["score"]) for item in found["items"]]


@pytest.mark.parametrize(
    ("value", "spelling"),
    [
        (True, "true"),
        ("True", "true"),
        (" TRUE ", "true"),
        (False, "false"),
    ],
)
def test_truth_values_have_one_spelling(value: Any, spelling: str, server: Server) -> None:
    assert answered(server, is_app=value) == answered(server, is_app=spelling)
    assert answered(server, is_app=value) != answered(server, is_app="no such value")


@pytest.mark.parametrize(("value", "spelling"), [(9.1, "9.1"), (10.0, "10"), (10, "10")])
def test_numbers_are_their_shortest_spelling(value: Any, spelling: str, server: Server) -> None:
    assert answered(server, version=value) == answered(server, version=spelling)
    assert answered(server, version=value) != answered(server, version="no such value")


def test_every_spelling_of_the_file_is_known(server: Server) -> None:
    answers = [answered(server, version=version) for version in [*VERSIONS, "no such value"]]
    assert all(one != other for place, one in enumerate(answers) for other in answers[:place])


@pytest.mark.parametrize("value", [True, "true", "True"])
@pytest.mark.parametrize("column", ["new", "sale"])
def test_filters_ask_for_truth_values(value: Any, column: str, server: Server) -> None:
    wanted = {"column": column, "equals": value}
    found = ids(server.recommend("7", k=50, mask_seen=False, filter=wanted))
    assert sorted(found) == sorted(f"i{n}" for n in range(20) if n % (4 if column == "new" else 2))


def test_filters_read_prices_and_numbers_of_a_csv_file(server: Server) -> None:
    for column in ("price", "stock"):
        wanted = {"column": column, "range": {"min": 17}}
        assert sorted(ids(server.recommend("7", k=50, mask_seen=False, filter=wanted))) == [
            "i17",
            "i18",
            "i19",
        ]


def test_an_item_is_put_with_the_types_of_the_catalogue(server: Server) -> None:
    columns = {"new": True, "sale": "False", "code": 7.0, "price": "$1,200", "stock": 3.5}
    server.put("/v1/items", {"items": [{"item_id": "put", "columns": columns}]})
    item = server.get("/v1/items/put")
    assert item["columns"] == {
        "new": "true",
        "sale": False,
        "code": "7",
        "price": 1200,
        "stock": 3.5,
    }
    dear = {"and": [{"column": "price", "range": {"min": 1000}}, {"column": "new", "equals": True}]}
    assert ids(server.recommend("7", k=50, filter=dear)) == ["put"]
    server.delete("/v1/items/put")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"stock": "many"},
            "row 2, column 'stock': this column of the bundle's table holds numbers, and this "
            "value does not fit (found 'many').",
        ),
        (
            {"sale": "yes"},
            "row 2, column 'sale': this column of the bundle's table holds true or false, and this "
            "value does not fit (found 'yes').",
        ),
    ],
)
def test_an_item_that_does_not_fit_is_refused(columns: Any, message: str, server: Server) -> None:
    items = [{"item_id": "a", "columns": {"stock": 1}}, {"item_id": "b", "columns": columns}]
    assert server.refused("PUT", "/v1/items", 422, json={"items": items})[1] == message


@pytest.mark.parametrize("codes", [["07", "7"], ["07", "A8"]])
def test_a_file_of_numbers_alone_is_read_as_one_with_letters(
    codes: list[str], bundle: Path, tmp_path: Path
) -> None:
    new = {
        "item_id": ["n1", "n2"],
        "new": ["true", ""],
        "sale": ["true", "false"],
        "code": codes,
        "price": ["3", "€1,234.50"],
        "stock": ["4", "5"],
    }
    pl.DataFrame(new).write_csv(tmp_path / "new.csv")
    added = add_items(bundle, str(tmp_path / "new.csv"), tmp_path / "more")
    rows = pl.read_parquet(added.bundle / "items.parquet").tail(2)
    before = pl.read_parquet(bundle / "items.parquet")
    assert rows.schema == before.schema
    assert rows.rows() == [
        ("n1", "true", True, "07", 3.0, 4),
        ("n2", None, False, codes[1], 1234.5, 5),
    ]


def test_a_later_file_that_does_not_fit(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text(
        "item_id,new,sale,code,price,stock\nn1,true,true,1,3,4\nn2,true,true,1,3,A4\n",
        encoding="utf-8",
    )
    with pytest.raises(DataError) as caught:
        add_items(bundle, str(file), tmp_path / "more")
    assert str(caught.value) == (
        f"{file}, row 2, column 'stock': this column of the bundle's table holds numbers, and this "
        "value does not fit (found 'A4'). Fix: correct the value, or declare the column a category "
        "and train again."
    )
