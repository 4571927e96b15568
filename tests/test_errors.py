"""The wording of errors."""

from __future__ import annotations

import pytest

from twotower.errors import explain, nearest, shorten


def test_all_parts_in_order() -> None:
    text = explain(
        "is no number", file="a.csv", row=3, column="price", value="x", fix="correct the value."
    )
    assert text == (
        "a.csv, row 3, column 'price': is no number (found 'x'). Fix: correct the value."
    )


def test_a_problem_alone() -> None:
    assert explain("nothing to train on") == "nothing to train on."


def test_a_question_keeps_its_mark() -> None:
    assert explain("unknown key, did you mean 'k'?") == "unknown key, did you mean 'k'?"


@pytest.mark.parametrize("length", [10, 80, 81, 5000])
def test_long_values_are_cut_in_the_middle(length: int) -> None:
    text = shorten("a" * (length // 2) + "b" * (length - length // 2))
    assert len(text) <= 80
    assert text.startswith("'a")
    assert text.endswith("b'")


def test_nearest_name() -> None:
    assert nearest("user", ["user_id", "price"]) == ", did you mean 'user_id'?"
    assert nearest("zzz", ["user_id", "price"]) == ""


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("postgresql://ann:s3cr3t@host/db#t", "postgresql://ann:***@host/db#t"),
        ("postgresql://ann:p@ss@host:5432/db#t", "postgresql://ann:***@host:5432/db#t"),
        (
            "postgresql://host/db?user=a&password=s3cr3t#t",
            "postgresql://host/db?user=a&password=***#t",
        ),
        ("clicks.csv", "clicks.csv"),
    ],
)
def test_no_message_names_a_password(source: str, shown: str) -> None:
    assert explain("is empty", file=source) == f"{shown}: is empty."
