"""Items that the items of a user lead to: a linear model of items, item-kNN or EASE, cut to the
largest weights, so that it can be asked in serving.

Shapes: N trained items, Q queries, K candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM
from twotower.models.baselines import Baseline
from twotower.models.baselines.ease import EASE
from twotower.models.baselines.item_knn import ItemKNN
from twotower.models.baselines.matrix import Matrix

WEIGHTS_PER_ITEM = 200
"""Weights kept of each candidate, the largest ones."""


@dataclass(frozen=True)
class ItemNeighbours:
    """Scores candidates by the sum of the weights from the items of the user.

    Attributes:
        weights: (N, N), from an item of the user (row) to a candidate (column).
        first: the item num of the first trained item.
        unit: the median weight above 0; see `damped`.
    """

    weights: Matrix
    first: int
    unit: float

    @staticmethod
    def of(model: Baseline[Any], number: int = WEIGHTS_PER_ITEM) -> ItemNeighbours:
        """The largest weights of a fitted item-kNN or EASE.

        Args:
            model: the one or the other.
            number: weights kept of each candidate.
        """
        if isinstance(model, ItemKNN):
            weights = model.similarity
        elif isinstance(model, EASE):
            weights = _largest(model, number)
        else:
            raise TypeError(f"A {model.name} has no weights between items.")
        above = weights.data[weights.data > 0]
        unit = float(np.median(above)) if len(above) else 1.0
        return ItemNeighbours(weights, model.items.first_known, unit)

    def fits(self, trained: range) -> bool:
        """Whether it is of these item nums."""
        size, finite = len(trained), bool(np.isfinite(self.weights.data).all())
        same = self.weights.shape == (size, size) and self.first == trained.start
        return same and finite and self.unit > 0

    def scores(self, user_items: Ragged) -> Matrix:
        """(Q, N) damped scores of the candidates with a weight, for Q lists of item nums; repeats
        and items that were not trained on count for nothing."""
        lists = user_items.distinct()
        columns = lists.values.astype(np.int64) - self.first
        there = (columns >= 0) & (columns < self.weights.shape[0])
        if not there.all():
            lists = Ragged.group(lists.keys()[there], lists.values[there], len(lists))
            columns = columns[there]
        # In the type of the weights' own indices, which would be copied into another one otherwise.
        kind = self.weights.indices.dtype
        asked: Matrix = sparse.csr_array(
            (
                np.ones(len(columns), dtype=np.float32),
                columns.astype(kind),
                lists.offsets.astype(kind),
            ),
            shape=(len(lists), self.weights.shape[0]),
        )
        found: Matrix = asked @ self.weights
        found.data = self.damped(found.data)
        return found

    def damped(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sums of weights on a logarithmic scale: a few sums are many times as large as the others,
        and would outvote every other scorer. The order stays."""
        damped: NDArray[np.float32] = np.sign(scores) * np.log1p(np.abs(scores) / self.unit)
        return damped.astype(np.float32)

    def best(
        self, scores: Matrix, number: int, servable: NDArray[np.bool_], excluded: Ragged | None
    ) -> NDArray[np.int64]:
        """(Q, number) item nums of the candidates with the highest scores above 0, in no order;
        `NO_ITEM` where there are fewer.

        Args:
            scores: (Q, N) of `scores`.
            number: at least 1.
            servable: (max item num + 1,) which items may be answered.
            excluded: Q lists of item nums to leave out.
        """
        nums = np.full((scores.shape[0], number), NO_ITEM, dtype=np.int64)
        for row in range(len(nums)):
            part = slice(scores.indptr[row], scores.indptr[row + 1])
            found, values = scores.indices[part].astype(np.int64) + self.first, scores.data[part]
            kept = (values > 0) & servable[found]
            if excluded is not None and len(excluded[row]):
                kept &= ~np.isin(found, excluded[row])
            found, values = found[kept], values[kept]
            if len(found) > number:
                found = found[np.argpartition(-values, number - 1)[:number]]
            nums[row, : len(found)] = found
        return nums

    def at(self, scores: Matrix, item_nums: NDArray[np.int64]) -> NDArray[np.float32]:
        """(Q, K) the scores of candidates (Q, K); 0 where there is no weight."""
        places = item_nums - self.first
        inside = (places >= 0) & (places < self.weights.shape[1])
        places = np.where(inside, places, 0)
        picked = np.empty(item_nums.shape, dtype=np.float32)
        row_scores = np.zeros(self.weights.shape[1], dtype=np.float32)
        for row in range(len(picked)):
            part = slice(scores.indptr[row], scores.indptr[row + 1])
            columns = scores.indices[part]
            row_scores[columns] = scores.data[part]
            picked[row] = row_scores[places[row]]
            row_scores[columns] = 0.0
        return np.where(inside, picked, np.float32(0.0))


def _largest(model: EASE, number: int) -> Matrix:
    """(N, N) the weights of EASE with the largest absolute value of each column."""
    size = model.weights.shape[0]
    kept = min(number, size)
    rows = model.weights.abs().topk(kept, dim=0).indices
    columns = np.tile(np.arange(size, dtype=np.int32), kept)
    data = model.weights.gather(0, rows).numpy().ravel()
    return sparse.csr_array(
        (data, (rows.numpy().ravel().astype(np.int32), columns)), shape=(size, size)
    )
