"""The test part in four slices: by whether its users and its items are in the training part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged

SLICES = ("warm", "cold_user", "cold_item", "both_cold")


def slice_relevant(
    relevant: Ragged, user_is_warm: NDArray[np.bool_], item_is_warm: NDArray[np.bool_]
) -> dict[str, Ragged]:
    """Slice -> (Q lists) its relevant items; only these count in the metrics of the slice.

    The candidates are the whole catalogue in every slice, so that one ranking serves all of them. A
    query without an item in a slice has an empty list there.

    Args:
        relevant: Q lists of item nums.
        user_is_warm: (Q,) whether the query's user has a training row.
        item_is_warm: (R,) whether the item num has a training row. An item outside the catalogue
            (-1) is cold.
    """
    inside = relevant.values >= 0
    warm_item = np.zeros(len(relevant.values), dtype=np.bool_)
    warm_item[inside] = item_is_warm[relevant.values[inside]]
    warm_user = user_is_warm[relevant.keys()]
    chosen = {
        "warm": warm_user & warm_item,
        "cold_user": ~warm_user & warm_item,
        "cold_item": warm_user & ~warm_item,
        "both_cold": ~warm_user & ~warm_item,
    }
    return {
        name: Ragged.group(relevant.keys()[rows], relevant.values[rows], len(relevant))
        for name, rows in chosen.items()
    }
