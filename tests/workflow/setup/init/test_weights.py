"""Weights, thresholds and event types that `init` proposes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.workflow.setup.init.test_columns import document, init, log_of, text
from twotower.data.dataset.dataset import Dataset
from twotower.workflow.setup.check import check
from twotower.workflow.setup.init import Written
from twotower.workflow.setup.init.weights import scale_of, weight_columns, weight_kind


@pytest.mark.parametrize(
    ("values", "min_weight", "about"),
    [
        (
            [1, 2, 3, 4, 5],
            4.0,
            "ratings on a scale up to 5, here from 1 to 5; rows below 4 are not positive",
        ),
        (
            [3, 4, 5],
            4.0,
            "ratings on a scale up to 5, here from 3 to 5; rows below 4 are not positive",
        ),
        (
            [0.5, 3.5, 5],
            4.0,
            "ratings on a scale up to 5, here from 0.5 to 5; rows below 4 are not positive",
        ),
        (
            [1, 7, 10],
            7.0,
            "ratings on a scale up to 10, here from 1 to 10; rows below 7 are not positive",
        ),
        (
            [0, 0, 5, 10],
            7.0,
            "ratings on a scale up to 10, here from 5 to 10; 0 means no rating (2 rows); rows "
            "below 7 are not positive",
        ),
        (
            [-1, 6, 10],
            7.0,
            "ratings on a scale up to 10, here from 6 to 10; -1 means no rating (1 row); rows "
            "below 7 are not positive",
        ),
        (
            [-9.78, 0.5, 9.9],
            5.0,
            "ratings on a scale from -10 to 10; rows below 5 are not positive",
        ),
        (
            [20, 60, 100],
            70.0,
            "ratings on a scale up to 100, here from 20 to 100; rows below 70 are not positive",
        ),
        ([True, False, True], None, "1 is positive, 0 (1 of 3 rows) is not"),
        (["True", "False", "True"], None, "1 is positive, 0 (1 of 3 rows) is not"),
        ([1, -1, 1], None, "1 is positive, -1 (1 of 3 rows) is not"),
        ([0.1, 0.9, 0.5], None, "amounts from 0.1 to 0.9; every row above 0 is positive"),
        ([1, 90, 5000], None, "amounts from 1 to 5000; every row above 0 is positive"),
    ],
)
def test_the_threshold_follows_from_the_scale(
    values: list[Any], min_weight: float | None, about: str
) -> None:
    scale = scale_of(pl.Series("rating", values, strict=False))
    assert (scale.min_weight, scale.about, scale.active) == (min_weight, about, True)


@pytest.mark.parametrize("name", ["Feedback", "user_reaction", "vote"])
@pytest.mark.parametrize(
    ("values", "about"),
    [
        ([8, 5, 9, 10], "ratings on a scale up to 10, here from 5 to 10; rows below 7 are not"),
        ([0.5, 3, 4.5, 5], "ratings on a scale up to 5, here from 0.5 to 5; rows below 4 are not"),
    ],
)
def test_opinions_on_the_steps_of_a_scale_are_ratings(
    name: str, values: list[float], about: str
) -> None:
    column = pl.Series(name, values, strict=False)
    assert weight_kind(column) == 1
    assert scale_of(column).about == f"{about} positive"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("votes_feedback", [1, 2, 900, 4]),
        ("votes_feedback", [1, 2, 3, 7]),
        ("reaction_type", [1, 2, 3, 5]),
        ("feedback_code", [1, 2, 3, 5]),
        ("num_reaction", [1, 2, 3, 5]),
    ],
)
def test_other_numbers_named_as_opinions_are_no_weights(name: str, values: list[int]) -> None:
    assert weight_kind(pl.Series(name, values)) is None
    assert weight_kind(pl.Series("feedback_hours", [1, 2, 3, 5])) == 4


def test_amounts_have_no_threshold() -> None:
    scale = scale_of(pl.Series("hours", ["1.5", "4", "0"]))
    assert scale.min_weight is None
    assert scale.about == (
        "amounts from 0 to 4; every row above 0 is positive, the other rows are not"
    )


def test_a_threshold_that_no_row_reaches_is_a_comment(tmp_path: Path) -> None:
    rows = "".join(f"{n % 7},{n % 5},{1 + n % 3}\n" for n in range(60))
    written = init(tmp_path, f"user_id,item_id,rating\n{rows}")
    assert "\n# min_weight = 4\n" in text(written)
    assert check(written.path).problems == ()


def test_ratings_before_labels_before_shares_before_amounts() -> None:
    log = pl.DataFrame(
        {
            "hours_on_record": [1.5, 2],
            "voted_up": [True, False],
            "play_count": [3, 4],
            "watch_ratio": [0.5, 2],
            "Book-Rating": [1, 2],
            "average_rating": [1.5, 2],
            "review_count": [9, 8],
            "price": [1, 2],
            "is_adult": [0, 1],
        }
    )
    assert weight_columns(log) == [
        "Book-Rating",
        "voted_up",
        "watch_ratio",
        "hours_on_record",
        "play_count",
    ]


def test_zeros_of_a_label_are_not_positives(tmp_path: Path) -> None:
    rows = "".join(
        f"u{n % 8},i{n * n % 13},{1_700_000_000 + 60 * n},{int(n % 9 == 0)}\n" for n in range(200)
    )
    written = init(tmp_path, f"user_id,item_id,timestamp,click\n{rows}")
    assert document(written)["data"]["columns"] == {"weight": "click"}
    assert written.notes == ("click is the weight: 1 is positive, 0 (177 of 200 rows) is not.",)
    assert "features.context" not in text(written)
    assert len(Dataset.read(written.path).tables.interactions) <= 23


# --- event types ----------------------------------------------------------------------------------


def shop(folder: Path, *events: str) -> Written:
    rows = "".join(f"{n % 7},{n % 11},{events[n % len(events)]}\n" for n in range(90))
    return init(folder, f"user_id,item_id,event\n{rows}")


def test_event_types_are_positives(tmp_path: Path) -> None:
    written = shop(tmp_path, "view", "addtocart", "transaction")
    assert (
        "# event is the event type: 'addtocart', 'transaction', 'view'.\n"
        '# event_types = ["addtocart", "transaction", "view"]  # the positives\n'
        "# event_weights = {addtocart = 3, transaction = 5, view = 1}  # instead of a weight "
        "column\n"
    ) in text(written)
    assert "event_types" not in document(written)["data"].get("positive", {})
    assert check(written.path).problems == ()


def test_event_types_that_say_the_opposite_are_left_out(tmp_path: Path) -> None:
    written = shop(tmp_path, "view", "remove_from_cart", "purchase", "dislike")
    assert document(written)["data"]["positive"] == {"event_types": ["purchase", "view"]}
    assert (
        "event is the event type: 'dislike', 'purchase', 'remove_from_cart', 'view'; 'dislike', "
        "'remove_from_cart' are not positive."
    ) in written.notes
    assert check(written.path).problems == ()


def test_purchases_and_hours_of_games(tmp_path: Path) -> None:
    rows = "".join(
        f"{151603712 + n % 7},Game {n * n % 11},purchase,1.0\n"
        f"{151603712 + n % 7},Game {n * n % 11},play,{n + 1}.5\n"
        for n in range(60)
    )
    written = init(tmp_path, f"user_id,game-title,behavior,hours\n{rows}")
    assert document(written)["data"]["columns"] == {
        "item_id": "game-title",
        "weight": "hours",
        "event_type": "behavior",
    }
    assert tomllib.loads(text(written))["data"]["positive"] == {}
    assert check(written.path).problems == ()


@pytest.mark.parametrize(
    ("name", "values", "good"),
    [
        ("thumb", ["up", "down"], ["up"]),
        ("bought", ["Y", "N"], ["Y"]),
        ("rating", ["Terrible", "OK", "Good", "Excellent"], ["Excellent", "Good"]),
    ],
)
def test_judgements_in_words(tmp_path: Path, name: str, values: list[str], good: list[str]) -> None:
    rows = [f"u{n % 7},i{n * n % 11},{values[n % len(values)]}" for n in range(60)]
    written = init(tmp_path, "\n".join([f"user_id,item_id,{name}", *rows]) + "\n")
    found = document(written)["data"]
    assert found["columns"] == {"event_type": name}
    assert found["positive"] == {"event_types": good}
    assert check(written.path).problems == ()


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("grade", ["A", "C"], "'A' is not a number"),
        ("rating", ["80%", "60%"], "'80%' is not a number"),
        ("rating", ["4/5", "3/5"], "'4/5' is not a number"),
        ("stars", ['"4,5"', '"3,0"'], "'4,5' is not a number"),
        ("quantity", ['"1,5"', '"2,0"'], "'1,5' is not a number"),
        ("rating", ["4", "", "5"], "it is missing in 20 of 60 rows"),
    ],
)
def test_what_looks_like_a_weight_and_cannot_be_read(
    tmp_path: Path, name: str, values: list[str], reason: str
) -> None:
    rows = [f"u{n % 7},i{n * n % 11},{values[n % len(values)]}" for n in range(60)]
    written = init(tmp_path, "\n".join([f"user_id,item_id,{name}", *rows]) + "\n")
    assert written.notes[-1] == (
        f"{name} looks like a weight but cannot be used: {reason}. Every row counts as positive "
        "unless it has a number in every row and is set as weight in [data.columns]."
    )
    assert "context" not in text(written)
    assert check(written.path).problems == ()


@pytest.mark.parametrize("cell", ["1{u}5lbs", "6{u}"])
def test_the_weight_of_a_person_is_not_that_of_a_row(tmp_path: Path, cell: str) -> None:
    log = log_of("user_id,item_id,weight,rating", 60, "u{u}", "i{i}", cell, "{u}")
    written = init(tmp_path, log)
    assert document(written)["data"]["columns"] == {"weight": "rating"}
    assert check(written.path).problems == ()
