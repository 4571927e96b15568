"""Why an item was recommended, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.entities import EntityTable
from twotower.data.features.schema import Schema, Side
from twotower.index import VectorIndex

NAME_COLUMNS = ("title", "name", "label")
"""Columns of the items file that an item is called by, where there is one."""


def history_reasons(
    index: VectorIndex,
    names: Callable[[NDArray[np.integer]], Sequence[str]],
    recommended: NDArray[np.integer],
    history: NDArray[np.integer],
    num_taste: int,
) -> list[str]:
    """For each recommended item the nearest item of the user's history, by the cosine of vectors.

    Args:
        index: holds the vectors.
        names: item nums (T,) -> what the items are called.
        recommended: (k,) item nums.
        history: (L,) item nums, at least one.
        num_taste: so many coordinates of the vectors are compared.
    """
    own = normalized(index.vectors_of(history)[:, :num_taste])
    others = normalized(index.vectors_of(recommended)[:, :num_taste])
    cosines = others @ own.T
    nearest = cosines.argmax(axis=1)
    return [
        f"near {name} of the history ({cosine:.2f})"
        for name, cosine in zip(names(history[nearest]), cosines.max(axis=1), strict=True)
    ]


def feature_reason(schema: Schema) -> str:
    """For an answer by features alone: which features."""
    sides: tuple[Side, Side] = ("user", "context")
    names = [name for side in sides for name in schema.features[side] if name != ID_FEATURE]
    return f"fits {', '.join(names) or 'the user'}"


def names_of(items: EntityTable, nums: NDArray[np.integer]) -> list[str]:
    """Items' titles where the items file has them, else their ids."""
    return [_name(items, int(num)) for num in nums]


def _name(items: EntityTable, num: int) -> str:
    for column in NAME_COLUMNS:
        if column in items.frame.columns and items.frame[column][num] is not None:
            return f"{items.frame[column][num]!r}"
    return str(items.ids[num])


def normalized(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, D) rows of length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-12)
    return unit
