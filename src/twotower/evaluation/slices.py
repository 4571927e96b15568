"""The test part in four slices, by what training had seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged

SLICES = ("warm", "cold_user", "cold_item", "both_cold")


def slice_relevant(
    relevant: Ragged, user_is_warm: NDArray[np.bool_], item_is_warm: NDArray[np.bool_]
) -> dict[str, Ragged]:
    """Slice -> (Q lists) the relevant items that belong to it; in a slice only its own count.

    The candidates stay the whole catalogue, so that one ranking serves all slices; a query with no
    item in a slice has an empty list there.

    Args:
        relevant: Q lists of item nums.
        user_is_warm: (Q,) whether training has a row of the query's user.
        item_is_warm: (R,) whether training has a row of the item num. An item outside the catalogue
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
