"""Requests as the models read them."""

from __future__ import annotations

import numpy as np
import pytest

from twotower.data.arrays.ragged import Ragged
from twotower.serving.bundle import queries
from twotower.serving.bundle.queries import Queries


@pytest.mark.parametrize("marks", [True, False])
def test_activity_counts_each_item_once(monkeypatch: pytest.MonkeyPatch, marks: bool) -> None:
    if not marks:
        monkeypatch.setattr(queries, "MAX_CELLS", 0)
    lists = Ragged.group(np.array([0, 0, 0, 2, 2, 2]), np.array([5, 7, 5, 9, -1, 9]), 3)
    asked = Queries({}, {}, None, lists)
    np.testing.assert_allclose(asked.activity, np.log1p([2, 0, 2]), rtol=1e-6)
    assert asked.activity.dtype == np.float32


def test_without_lists_nobody_is_active() -> None:
    nobody = Queries({}, {}, None, Ragged.empty(2))
    assert nobody.activity.tolist() == [0, 0]
