"""What a request may ask, and the features that it sends."""

from __future__ import annotations

import pytest

from tests.data.encoded import same
from tests.data.small_shop import schema
from twotower.errors import DataError
from twotower.serving.answer.requests import SearchOptions, column_names, encode_columns

SCHEMA = schema()


def test_a_number_of_items_and_a_diversity_are_checked() -> None:
    with pytest.raises(ValueError, match=r"^The 'k' parameter must be at least 1\. Got 0 instead"):
        SearchOptions(0)
    wrong = r"^The 'diversity' parameter must be from 0 to 1\. Got {} instead\.$"
    for diversity in (-0.1, 1.5):
        with pytest.raises(ValueError, match=wrong.format(diversity)):
            SearchOptions(diversity=diversity)
    assert [SearchOptions(1, diversity=share).diversity for share in (0.0, 1.0)] == [0.0, 1.0]


def test_one_row_is_encoded_and_absent_columns_are_missing_values() -> None:
    assert column_names(SCHEMA, "user") == ["age", "city"]
    assert column_names(SCHEMA, "context") == ["device"]
    sent = encode_columns(SCHEMA, "user", {"city": "Rome"})
    null = encode_columns(SCHEMA, "user", {"city": "Rome", "age": None})
    assert sent.keys() == null.keys() == {"id", "age", "city"}
    for name, column in sent.items():
        assert len(column) == 1
        assert same(column, null[name])
    other = encode_columns(SCHEMA, "user", {"city": "Oslo", "age": 20})
    assert not same(other["city"], sent["city"])
    assert not same(other["age"], sent["age"])


def test_a_value_of_another_type_is_named_without_a_row() -> None:
    with pytest.raises(DataError) as caught:
        encode_columns(SCHEMA, "user", {"age": "old"})
    assert str(caught.value) == (
        "column 'age': is declared as a number, but this value is not a number (found 'old'). "
        "Fix: correct the value, leave the cell empty, or declare 'age' a category."
    )
