"""Places of ids by a table and by a join are the same."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.data.values.id_places import MISSING, IdPlaces

NUMBERS = st.one_of(st.integers(-40, 40), st.integers(-(2**63), 2**63 - 1))


@given(
    st.one_of(
        st.sets(st.integers(-30, 30)), st.sets(st.integers(2**63 - 60, 2**63 - 1)), st.sets(NUMBERS)
    ),
    st.lists(st.one_of(st.none(), NUMBERS)),
)
def test_places_are_those_of_a_dictionary(known: set[int], asked: list[int | None]) -> None:
    ids = list(known)
    asked += ids[::2]
    found = IdPlaces(pl.Series(ids, dtype=pl.Int64)).of(pl.Series(asked, dtype=pl.Int64))
    places = {value: place for place, value in enumerate(ids)}
    expected = [MISSING if value is None else places.get(value, MISSING) for value in asked]
    assert found.dtype == np.int64
    assert found.tolist() == expected
    one = IdPlaces(pl.Series(ids, dtype=pl.Int64)).one
    assert [MISSING if value is None else one(value) for value in asked] == expected
    assert one(2**64) == one(-(2**64)) == one("7") == MISSING


@pytest.mark.parametrize("far", [False, True])
def test_many_integers_close_together_and_far_apart(far: bool) -> None:
    ids = np.random.default_rng(0).permutation(5000) * (10**9 if far else 2)
    places = IdPlaces(pl.Series(ids))
    assert places.of(pl.Series(ids[::-1])).tolist() == list(range(5000))[::-1]
    assert set(places.of(pl.Series(ids + 1)).tolist()) == {MISSING}


def test_text() -> None:
    places = IdPlaces(pl.Series(["b", "a", "7"]))
    assert places.of(pl.Series(["a", None, "x", "b", "7"])).tolist() == [1, -1, -1, 0, 2]
    assert [places.one(value) for value in ("a", "x", "b", 7)] == [1, MISSING, 0, 2]
