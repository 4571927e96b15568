"""What `init` takes a column of users or items as."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from twotower.workflow.setup.init.features import guess_feature


@pytest.mark.parametrize(
    ("name", "values", "kind", "active"),
    [
        ("gender", ["m", "f"] * 30, "category", True),
        ("job", list(range(12)) * 9, "category", True),
        ("price", list(range(12)) * 9, "number", True),
        ("views", list(range(200)), "number", False),
        ("zip_code", list(range(10_000, 10_200)), "category", False),
        ("zip_code", list(range(10_000, 10_010)) * 20, "category", True),
        ("rating", [0.5, 1.5, None], "number", False),
        ("broken", [0.5, float("nan"), 1.0], "number", True),
        ("cost", ["1.50", "2.25", "3.10"], "number", True),
        ("added", [1_704_103_200, 1_704_189_600], "timestamp", True),
        ("launch", ["2024-01-01", "2024-02-02", "2024-03-03"], "timestamp", True),
        ("tags", ["a;b", "b;c", "c;a", "a"] * 3, "categories", True),
        ("tags", [["a", "b"], ["b", "a"], None], "categories", True),
        ("parts", [["a", "b"], ["c", "d"]], "category", False),
        ("vector", [[0.5, 1.5], [0.5, 1.5]], "vector", True),
        ("vector", [[0.5, 1.5], None, [1.5]], "category", False),
        ("vector", [[0.5, 1.5], [0.5, float("nan")]], "vector", False),
        ("cover", [f"covers/{n}.JPG" for n in range(9)], "image", True),
        ("cover", ["https://shop.example/a.png?w=9", "https://shop.example/b.png"], "image", False),
        ("cover", [b"\x89PNG\r\n", None, b"\xff\xd8\xff\xe0"], "image", True),
        ("blob", [b"\x00\xff", b"\x01"], "category", False),
        (
            "plot",
            [f"Once upon a time there was a king with {n} sons" for n in range(9)],
            "text",
            True,
        ),
        ("active", [True, False] * 4, "category", True),
        ("constant", ["x"] * 9, "category", False),
        ("cover", [None] * 9, "category", False),
        ("title", [f"Kettle, number {n}" for n in range(90)], "text", True),
        ("owner", [{"a": 1}, {"a": 2}], "category", False),
        ("active", ["True", "False"] * 4, "category", True),
        ("zip", ["02134", "10001"] * 8, "category", True),
        ("plz", [str(n) for n in range(10_000, 10_100)] * 3, "category", True),
        ("isbn", ["9780306406157", "9780306406164"] * 8, "category", True),
        ("app_version", ["9.1", "9.10", "10.0"] * 8, "category", True),
        ("stars", ["Tom Hanks", "Meg Ryan"] * 8, "category", True),
        ("age", ["31", "27", "44"], "number", True),
        ("age", ["31", "NULL", "27", "n/a", "44", "-"], "number", True),
        ("size", ["S", "NULL"] * 6, "category", True),
        ("occupation", [str(n % 21) for n in range(60)], "category", True),
        ("title", [f"Tom &amp; Jerry; a Novel {n}" for n in range(20)], "text", True),
        ("homepage", [f"https://shop.example/{n}" for n in range(9)], "category", False),
        ("authors", ["['Ann Bo', 'Cy Do']", "['Ed Fu']"], "category", False),
        ("released", ["1/2/2024", "3/4/2024", "5/6/2024"], "timestamp", False),
        (
            "class",
            ["Action Sci-Fi", "Comedy", "Drama Romance", "Action Drama"] * 3,
            "categories",
            True,
        ),
        ("category", ["Computer Science", "Computer Vision"] * 6, "category", True),
        ("categories", ["Bars, Pizza", "Pizza, Bars", "Bars"] * 3, "categories", True),
        ("genres", ["Drama|War", "War|Drama", "Comedy|War"] * 3, "categories", True),
        ("x", [timedelta(1), timedelta(2)], "category", False),
    ],
)
def test_types_of_columns(name: str, values: list[Any], kind: str, active: bool) -> None:
    guess = guess_feature(pl.Series(name, values, strict=False))
    assert (guess.feature.model_dump()["type"], guess.active) == (kind, active)


FUTURE = "counts interactions, including later ones"


FUTURES = (
    "likeCount wishlist_count revenue ctr conversion_rate times_bought hotness "
    "ratings_count average_rating avg_rating rating num_reviews reviewCount reviews sales sold "
    "likes popularity rank votes vote_average vote_count members favorites score playcount "
    "isBestSeller"
)


@pytest.mark.parametrize("name", FUTURES.split())
def test_numbers_that_count_the_future_are_left_out(name: str) -> None:
    guess = guess_feature(pl.Series(name, [0, 1, 1, 0] if name == "isBestSeller" else [9, 7, 8]))
    assert (guess.reason, guess.active) == (FUTURE, False)
    guess = guess_feature(pl.Series(name, ["1", "0"] if name == "isBestSeller" else ["9.5", "7"]))
    assert (guess.reason, guess.active) == (FUTURE, False)


@pytest.mark.parametrize(
    ("cells", "decimal", "span"),
    [
        (["€16.02", "€3.50", "€1,200.00"], ".", "from 3.5 to 1200"),
        (["35.73 EUR", "7 EUR"], ".", "from 7 to 35.73"),
        (["1.234,50", "99,90", "5,00"], ",", "from 5 to 1234.5"),
        (["12,5", "7", "3,25"], ",", "from 3.25 to 12.5"),
        (["$1,234", "$9"], ".", "from 9 to 1234"),
    ],
)
def test_prices_are_numbers(cells: list[str], decimal: str, span: str) -> None:
    guess = guess_feature(pl.Series("price", cells))
    settings = guess.feature.model_dump()
    assert (settings["type"], settings["decimal"], guess.active) == ("number", decimal, True)
    assert guess.reason.startswith(f"numbers such as {cells[0]!r}, {span}")


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["Home > Kitchen > Pans", "Home > Garden", "Toys > Cars"], ">"),
        ([f"{a}|{a}{b}|{a}{b}{n}" for a in "xy" for b in "pqr" for n in range(4)], "|"),
        ([f"{a}/{a}{b}" for a in "xy" for b in "pqr" for _ in range(4)], "/"),
    ],
)
def test_paths_of_a_tree_are_hierarchical(cells: list[str], separator: str) -> None:
    guess = guess_feature(pl.Series("category", cells))
    assert guess.feature.model_dump(exclude_defaults=True) == {
        "type": "categories",
        "separator": separator,
        "hierarchical": True,
    }
    assert (guess.reason, guess.active) == (f"paths such as {cells[0]!r}", True)


def test_numbered_kinds_by_their_name() -> None:
    cells = [n * 7 % 57 for n in range(900)]
    kind = guess_feature(pl.Series("i_category", cells)).feature
    assert kind.model_dump(exclude_defaults=True) == {"type": "category"}
    for name in ("group_size", "amount", "city_population", "distance_to_city_hall"):
        assert guess_feature(pl.Series(name, cells)).feature.type == "number"
    coded = guess_feature(pl.Series("brand_id", cells))
    assert coded.feature.type == "category"
    many = guess_feature(pl.Series("distance_to_store", list(range(300, 600)) * 4))
    assert many.feature.type == "number"


@pytest.mark.parametrize("cells", [["[2-3]", "[4-inf]"], ["[1]", "[2]"], ["[a]", "{b}"]])
def test_a_value_in_brackets_is_no_list(cells: list[str]) -> None:
    guess = guess_feature(pl.Series("length_of_stay", cells * 30))
    assert guess.feature.model_dump(exclude_defaults=True) == {"type": "category"}
    assert guess.active


@pytest.mark.parametrize(
    ("name", "cells", "reason"),
    [
        (
            "authors",
            ["['Ann', 'Bo']", '["Cy"]'],
            "lists stored as text, such as \"['Ann', 'Bo']\": store the values with a separator, "
            "such as a|b, and declare them as categories",
        ),
        (
            "ids",
            ["[12]", "[3, 7]"],
            "lists stored as text, such as '[12]': store the values with a separator, such as "
            "a|b, and declare them as categories",
        ),
        (
            "stars",
            ["[1 2 3]", "[4]"],
            "lists stored as text, such as '[1 2 3]': store the values with a separator, such as "
            "a|b, and declare them as categories",
        ),
        ("link", ["http://a.example/1", "http://a.example/2"], "URLs"),
        (
            "cover",
            ["http://a.example/1.jpg", "http://a.example/2.jpg"],
            "URLs of images, which are not downloaded: save the files and use their paths",
        ),
        (
            "price",
            [*(f"{n}.5" for n in range(89)), "cheap"],
            "89 of 90 values are numbers, and 'cheap' is not: correct it or leave it empty",
        ),
    ],
)
def test_what_is_left_out_has_a_reason(name: str, cells: list[str], reason: str) -> None:
    guess = guess_feature(pl.Series(name, cells))
    assert (guess.reason, guess.active) == (reason, False)


def test_truth_values_are_categories() -> None:
    for cells in (["True", "False"] * 9, [True, False] * 9, ["TRUE", "false"] * 9):
        guess = guess_feature(pl.Series("on_sale", cells))
        assert guess.feature.model_dump(exclude_defaults=True) == {"type": "category"}
        assert guess.reason == "truth values, 2 different values in 18 rows"
