"""Why an item was recommended, in words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twotower.data.columns import ID_FEATURE
from twotower.data.entities import EntityTable
from twotower.data.schema import Schema, Side
from twotower.index import VectorIndex

NAME_COLUMNS = ("title", "name", "label")
"""Columns of the items file that an item is called by, where there is one."""


def history_reasons(
    index: VectorIndex,
    items: EntityTable,
    recommended: NDArray[np.integer],
    history: NDArray[np.integer],
    num_taste: int,
) -> list[str]:
    """For each recommended item the nearest item of the user's history, by the cosine of vectors.

    Args:
        index: holds the vectors.
        items: names them.
        recommended: (k,) item nums.
        history: (L,) item nums, at least one.
        num_taste: so many coordinates of the vectors are compared.
    """
    own = normalized(vectors_of(index, history)[:, :num_taste])
    others = normalized(vectors_of(index, recommended)[:, :num_taste])
    cosines = others @ own.T
    nearest = cosines.argmax(axis=1)
    return [
        f"near {name_of(items, int(history[place]))} of the history ({cosines[row, place]:.2f})"
        for row, place in enumerate(nearest)
    ]


def feature_reason(schema: Schema) -> str:
    """For an answer by features alone: which features."""
    sides: tuple[Side, Side] = ("user", "context")
    names = [name for side in sides for name in schema.features[side] if name != ID_FEATURE]
    return f"fits {', '.join(names) or 'the user'}"


def name_of(items: EntityTable, num: int) -> str:
    """An item's title where the items file has one, else its id."""
    for column in NAME_COLUMNS:
        if column in items.frame.columns and items.frame[column][num] is not None:
            return f"{items.frame[column][num]!r}"
    return str(items.ids[num])


def vectors_of(index: VectorIndex, nums: NDArray[np.integer]) -> NDArray[np.float32]:
    """(T, D) vectors of item nums; zeros for an item that is not in the index."""
    vectors = index.vectors()
    found = np.zeros((len(nums), vectors.shape[1]), dtype=np.float32)
    if len(vectors):
        places = np.minimum(np.searchsorted(index.item_nums, nums), len(vectors) - 1)
        there = index.item_nums[places] == nums
        found[there] = vectors[places[there]]
    return found


def normalized(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, D) rows of length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-12)
    return unit
