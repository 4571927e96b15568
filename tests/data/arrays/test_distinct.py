"""Different values, and that nobody asks numpy's hash table for them."""

from __future__ import annotations

import ast
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
    found = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            call = ast.unparse(node) if isinstance(node, ast.Call) else ""
            slow = call.startswith(
                ("np.unique(", "np.union1d(", "np.setdiff1d(", "np.intersect1d(")
            )
            # With indices numpy sorts; quantiles are a few floats.
            if slow and not re.search("return_|axis=|quantile|assume_unique", call):
                found.append(f"{path.relative_to(SOURCE)}: {call}")
    assert not found
