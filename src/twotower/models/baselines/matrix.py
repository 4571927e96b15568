"""Interactions as a sparse matrix of users and trained items."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from twotower.data.arrays.ragged import Ragged
from twotower.data.columns import WEIGHT
from twotower.data.dataset.entities import EntityTable
from twotower.data.dataset.interactions import Interactions
from twotower.errors import DataError, explain

Matrix = sparse.csr_array[np.float32]
"""(len(users), N): a row per user num, a column per trained item, from `items.first_known` on."""

Weights = Literal["raw", "log", "none"]


def row_weights(train: Interactions, weights: Weights) -> NDArray[np.float32]:
    """(T,) weights of the training rows.

    Raises:
        DataError: a weight is not a number above 0.
    """
    if weights == "none":
        return np.ones(len(train), dtype=np.float32)
    wrong = np.flatnonzero(~((train.weight > 0) & np.isfinite(train.weight)))
    if len(wrong):
        raise DataError(
            explain(
                "a baseline learns from weights above 0",
                row=int(wrong[0]) + 1,
                column=WEIGHT,
                value=float(train.weight[wrong[0]]),
                fix="set data.positive.min_weight, or the baseline's weights = 'none'",
            )
        )
    return train.weight if weights == "raw" else np.log2(1 + train.weight)


def interaction_matrix(train: Interactions, weights: Weights) -> Matrix:
    """The weights of all pairs; a pair that occurs twice has the larger one."""
    values = row_weights(train, weights)
    columns = train.item_num.astype(np.int64) - train.items.first_known
    return _matrix(train.user_num.astype(np.int64), columns, values, _shape(train))


def with_seen(matrix: Matrix, seen: Ragged, items: EntityTable) -> Matrix:
    """The matrix and, with weight 1, further items that its users have seen; `seen` items without a
    training row are ignored."""
    rows, columns = seen.keys(), seen.values.astype(np.int64) - items.first_known
    there = (columns >= 0) & (columns < items.num_warm) & (rows < matrix.shape[0])
    rows, columns = rows[there], columns[there]
    new = ~contains(pair_keys(matrix), rows * matrix.shape[1] + columns)
    old = matrix.tocoo()
    return _matrix(
        np.concatenate([old.row.astype(np.int64), rows[new]]),
        np.concatenate([old.col.astype(np.int64), columns[new]]),
        np.concatenate([old.data, np.ones(int(new.sum()), dtype=np.float32)]),
        matrix.shape,
    )


def contains(keys: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(T,) whether each wanted pair is among others, both as `pair_keys` returns them."""
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.bool_)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: NDArray[np.bool_] = keys[places] == wanted
    return found


def pair_keys(matrix: Matrix) -> NDArray[np.int64]:
    """(nnz,) row * N + column of each pair, ascending, as the columns of each row are."""
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    return rows * matrix.shape[1] + matrix.indices


def _shape(train: Interactions) -> tuple[int, int]:
    return len(train.users), train.items.num_warm


def _matrix(
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    values: NDArray[np.float32],
    shape: tuple[int, int],
) -> Matrix:
    keys = rows * shape[1] + columns
    order = np.lexsort((values, keys))
    keys, values = keys[order], values[order]
    last = np.append(keys[1:] != keys[:-1], True) if len(keys) else np.zeros(0, dtype=np.bool_)
    keys, values = keys[last], values[last]
    indptr = np.searchsorted(keys, np.arange(shape[0] + 1, dtype=np.int64) * shape[1])
    return sparse.csr_array((values.astype(np.float32), keys % shape[1], indptr), shape=shape)
