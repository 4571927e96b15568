"""Different values, and that nobody asks numpy's hash table for them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import twotower
from twotower.data.arrays.distinct import distinct_values

SOURCE = Path(twotower.__file__).parent


@given(st.lists(st.integers(-5, 5)), st.sampled_from([np.int8, np.int32, np.int64]))
def test_they_are_those_of_numpy(values: list[int], dtype: type[np.signedinteger]) -> None:
    array: NDArray[np.signedinteger] = np.array(values, dtype=dtype)
    found = distinct_values(array)
    assert found.dtype == dtype
    assert found.tolist() == np.unique(array).tolist()


def test_no_other_way_is_used() -> None:
    calls = re.compile(r"np\.(?:unique|union1d)\((?:[^()]|\([^()]*\))*\)")
    found = {
        f"{path.relative_to(SOURCE)}: {call}"
        for path in SOURCE.rglob("*.py")
        for call in calls.findall(path.read_text(encoding="utf-8"))
        # With indices numpy sorts; quantiles are a few floats.
        if not re.search("return_|axis=|quantile", call)
    }
    assert not found
