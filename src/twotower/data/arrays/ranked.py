"""Ranked items for many queries, and the paths by which requests are answered."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged

NO_ITEM: Final = -1
"""Padding where fewer than k items exist; its score is -inf."""

PATHS: Final = ("known", "history", "features", "popular")
"""How a request was answered: by a trained user's id, an untrained user's interactions, features
alone, or popularity."""
KNOWN, HISTORY, FEATURES, POPULAR = range(4)


class Ranked(NamedTuple):
    """Ranked items for Q queries, best first.

    Attributes:
        item_nums: (Q, k) int64, `NO_ITEM` where there is none.
        scores: (Q, k) float32, -inf where there is no item.
        path: (Q,) int8, places in `PATHS`.
    """

    item_nums: NDArray[np.int64]
    scores: NDArray[np.float32]
    path: NDArray[np.int8]


def first_unlisted(
    item_nums: NDArray[np.int64], scores: NDArray[np.float32], unwanted: Ragged | None, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The first k candidates of each row that are not on its list, padded if fewer are left.

    Args:
        item_nums: (Q, W) candidates, best first, `NO_ITEM` where there is none.
        scores: (Q, W).
        unwanted: Q lists of item nums, or None for none; items outside the catalogue (-1)
            are passed over.
        k: how many to keep.
    """
    hidden = item_nums < 0
    if unwanted is not None and (unwanted.values >= 0).any():
        width = int(max(item_nums.max(initial=0), unwanted.values.max())) + 1
        inside = unwanted.values >= 0
        listed = np.sort(unwanted.keys()[inside] * width + unwanted.values[inside])
        keys = np.where(hidden, 0, item_nums) + np.arange(len(item_nums))[:, None] * width
        places = np.minimum(np.searchsorted(listed, keys), len(listed) - 1)
        hidden = hidden | (listed[places] == keys)
    rows, columns = np.nonzero(~hidden)
    starts = np.searchsorted(rows, np.arange(len(hidden)))
    places = np.arange(len(rows)) - starts[rows]
    rows, columns, places = (part[places < k] for part in (rows, columns, places))
    kept = np.full((len(item_nums), k), NO_ITEM, dtype=np.int64)
    values = np.full((len(item_nums), k), -np.inf, dtype=np.float32)
    kept[rows, places] = item_nums[rows, columns]
    values[rows, places] = scores[rows, columns]
    return kept, values
