"""Encoded columns, compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.feature_type import Lists
from twotower.data.dataset.entities import Column


def same(one: Column | NDArray[Any] | Lists, other: Column | NDArray[Any] | Lists) -> bool:
    """Whether two columns hold the same in the same types."""
    each = zip(arrays(one), arrays(other), strict=True)
    return all(mine.dtype == theirs.dtype and np.array_equal(mine, theirs) for mine, theirs in each)


def arrays(column: Column | NDArray[Any] | Lists) -> list[NDArray[Any]]:
    """What a column holds."""
    if isinstance(column, np.ndarray | Tensor):
        return [np.asarray(column)]
    return [np.asarray(column.offsets), np.asarray(column.values)]
