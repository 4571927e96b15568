"""Items that the items of a user lead to: a linear model of items, item-kNN or EASE, cut to the
largest weights, so that it can be asked in serving.

Shapes: N trained items, Q queries, K candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from twotower.data.arrays.distinct import distinct_values
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM
from twotower.models.baselines import Baseline
from twotower.models.baselines.ease import EASE
from twotower.models.baselines.item_knn import ItemKNN
from twotower.models.baselines.matrix import Matrix

WEIGHTS_PER_ITEM = 200
"""Weights kept of each candidate, the largest ones."""
MAX_CELLS = 1 << 23
"""So many sums at most, most of them 0, are made in memory at once, 32 MB."""
MAX_ENTRIES = 1 << 16
"""So many weights at most are added up without a sparse product."""
MAX_DENSE_ITEMS = 2048
"""Of up to so many items all weights are kept, 16 MB, so that rows of them are added up."""
DENSE = 10
"""Where one sum in so many is more than 0, all are read to find those."""


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

    def scores(self, user_items: Ragged) -> NeighbourScores:
        """Damped scores of the candidates with a weight, for Q lists of item nums; repeats and
        items that were not trained on count for nothing."""
        number, size = len(user_items), self.weights.shape[1]
        keys, places = np.divmod(distinct_values(self._cells(user_items)), size)
        starts = self.weights.indptr[places].astype(np.int64)
        lengths = self.weights.indptr[places + 1] - starts
        # The sums are the same in all ways: single precision, in the order of the items.
        if number * size > MAX_CELLS:
            found = self._multiplied(keys, places, number)
            found.sort_indices()
            cells, values = cells_of(found), self.damped(found.data)
        elif size > MAX_DENSE_ITEMS and lengths.sum() <= MAX_ENTRIES:
            cells, sums = self._gathered(keys * size, starts, lengths, number * size)
            values = self.damped(sums)
        else:
            every = self.dense(user_items).numpy().ravel()
            cells = np.flatnonzero(every)
            values = every[cells]
        return NeighbourScores(cells, values, number, size, self.first)

    def dense(self, user_items: Ragged) -> Tensor:
        """(Q, N) the same scores, 0 where there is no weight."""
        number, size = len(user_items), self.weights.shape[1]
        taken = np.zeros(number * size, dtype=np.bool_)
        taken[self._cells(user_items)] = True
        keys, places = np.divmod(np.flatnonzero(taken), size)
        if size <= MAX_DENSE_ITEMS:
            offsets = torch.from_numpy(np.searchsorted(keys, np.arange(number)))
            rows = torch.from_numpy(places)
            return self._damped(torch.embedding_bag(self._table, rows, offsets)[0])
        starts = self.weights.indptr[places].astype(np.int64)
        lengths = self.weights.indptr[places + 1] - starts
        scores = torch.zeros(number, size)
        cells = scores.numpy().reshape(-1)
        if lengths.sum() <= MAX_ENTRIES:
            found, weights = self._led_to(keys * size, starts, lengths)
            np.add.at(cells, found, weights)
            cells[found] = self.damped(cells[found])
        else:
            sums = self._multiplied(keys, places, number)
            cells[cells_of(sums)] = self.damped(sums.data)
        return scores

    @cached_property
    def _table(self) -> Tensor:
        """(N, N) all weights."""
        return torch.from_numpy(self.weights.toarray())

    def _cells(self, user_items: Ragged) -> NDArray[np.integer]:
        """(T,) query * N + place of the trained items of lists."""
        size = self.weights.shape[1]
        places = user_items.values - self.first
        there = (places >= 0) & (places < size)
        if len(user_items) == 1:
            return places[there]
        return user_items.keys()[there] * size + places[there]

    def _led_to(
        self,
        first_cells: NDArray[np.int64],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The cells query * N + candidate (E,) that items lead to, one for each weight, and the
        weights (E,).

        Args:
            first_cells: (T,) query * N of each item.
            starts, lengths: (T,) of its weights.
        """
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        found = np.arange(total) + np.repeat(starts - ends + lengths, lengths)
        cells = self.weights.indices[found].astype(np.int64) + np.repeat(first_cells, lengths)
        return cells, self.weights.data[found]

    def _gathered(
        self,
        first_cells: NDArray[np.int64],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        number: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The different cells that items lead to, ascending, and their sums: for few queries,
        where each call of a library counts.

        Args:
            first_cells, starts, lengths: as in `_led_to`.
            number: of all cells.
        """
        cells, weights = self._led_to(first_cells, starts, lengths)
        sums = np.zeros(number, dtype=np.float32)
        np.add.at(sums, cells, weights)
        there = np.flatnonzero(sums) if len(cells) * DENSE > number else distinct_values(cells)
        return there, sums[there]

    def _multiplied(
        self, keys: NDArray[np.int64], places: NDArray[np.int64], number: int
    ) -> Matrix:
        """(Q, N) the sums of many queries: items (T,) of queries (T,), both ascending. Columns are
        in no order."""
        size = self.weights.shape[1]
        # In the type of the weights' own indices, which would be copied into another one otherwise.
        kind = self.weights.indices.dtype
        offsets = np.searchsorted(keys, np.arange(number + 1)).astype(kind)
        ones = np.ones(len(places), dtype=np.float32)
        asked: Matrix = sparse.csr_array((ones, places.astype(kind), offsets), (number, size))
        found: Matrix = asked @ self.weights
        return found

    def damped(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sums of weights on a logarithmic scale: a few sums are many times as large as the others,
        and would outvote every other scorer. The order stays."""
        return self._damped(torch.from_numpy(scores)).numpy()

    def _damped(self, scores: Tensor) -> Tensor:
        return torch.copysign((scores.abs() / self.unit).log1p_(), scores)


def cells_of(sums: Matrix) -> NDArray[np.int64]:
    """(E,) query * N + candidate of the entries of sums (Q, N)."""
    number, size = sums.shape
    rows = np.repeat(np.arange(number, dtype=np.int64) * size, np.diff(sums.indptr))
    return rows + sums.indices


@dataclass(frozen=True)
class NeighbourScores:
    """Scores of the candidates that item neighbours lead to, for Q queries.

    Attributes:
        cells: (S,) query * N + candidate, ascending.
        values: (S,) their scores.
        number: Q.
        size: N.
        first: the item num of the first candidate.
    """

    cells: NDArray[np.int64]
    values: NDArray[np.float32]
    number: int
    size: int
    first: int

    def best(
        self, number: int, servable: NDArray[np.bool_], excluded: Ragged | None
    ) -> NDArray[np.int64]:
        """(Q, number) item nums of the candidates with the highest scores above 0, in no order;
        `NO_ITEM` where there are fewer.

        Args:
            number: at least 1.
            servable: (max item num + 1,) which items may be answered.
            excluded: Q lists of item nums to leave out.
        """
        queries, places = np.divmod(self.cells, self.size)
        nums = places + self.first
        kept = (self.values > 0) & servable[nums]
        if excluded is not None and len(self.cells):
            unwanted = excluded.values.astype(np.int64) - self.first
            inside = (unwanted >= 0) & (unwanted < self.size)
            kept[self._there(excluded.keys()[inside] * self.size + unwanted[inside])] = False
        rows = np.searchsorted(queries[kept], np.arange(self.number + 1))
        nums, values = nums[kept], self.values[kept]
        best = np.full((self.number, number), NO_ITEM, dtype=np.int64)
        for row, (start, end) in enumerate(pairwise(rows.tolist())):
            found = nums[start:end]
            if len(found) > number:
                found = found[np.argpartition(-values[start:end], number - 1)[:number]]
            best[row, : len(found)] = found
        return best

    def at(self, item_nums: NDArray[np.int64]) -> NDArray[np.float32]:
        """(Q, K) the scores of candidates (Q, K); 0 where there is no weight."""
        if not len(self.cells):
            return np.zeros(item_nums.shape, dtype=np.float32)
        places = item_nums - self.first
        inside = (places >= 0) & (places < self.size)
        wanted = places + np.arange(self.number)[:, None] * self.size
        found = np.minimum(np.searchsorted(self.cells, wanted), len(self.cells) - 1)
        return np.where(inside & (self.cells[found] == wanted), self.values[found], np.float32(0))

    def _there(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where some of the wanted cells are, for those that are."""
        found = np.minimum(np.searchsorted(self.cells, wanted), len(self.cells) - 1)
        there: NDArray[np.int64] = found[self.cells[found] == wanted]
        return there


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
