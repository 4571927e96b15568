"""Trained items whose content is like that of an item that training never saw: how content leads
from what a user took to new items.

Shapes: R item nums, T trained items, A new items, K neighbours of each, V terms of all features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from twotower.data.arrays.ranked import NO_ITEM
from twotower.data.dataset.entities import EntityTable, Features
from twotower.models.baselines.matrix import Matrix
from twotower.models.item_neighbours import ItemNeighbours
from twotower.models.retriever.cold_item_tower import ColdTower

NEIGHBOURS = 100
"""K. With fewer, tags and genres lose; with all of them, what nearly every item has counts."""
MAX_TRAINED = 50_000
"""Of a larger catalogue, neighbours are looked for among so many items, those taken most."""
CELLS_PER_BLOCK = 1 << 24
"""Similarities in memory at once."""


class ContentLinks(NamedTuple):
    """New items with the trained items that are like them.

    Attributes:
        nums: (A,) the new items, ascending.
        near: (A, K) item nums of trained ones, `NO_ITEM` where there are fewer.
        similarity: (A, K) cosines, 0 where there is no item.
    """

    nums: NDArray[np.int64]
    near: NDArray[np.int32]
    similarity: NDArray[np.float32]

    def fits(self, num_items: int, trained: range) -> bool:
        """Whether they are of these items."""
        shape = (len(self.nums), self.near.shape[1] if self.near.ndim == 2 else -1)
        if self.near.shape != shape or self.similarity.shape != shape:
            return False
        there = self.near[self.near != NO_ITEM]
        inside = (there >= trained.start) & (there < trained.stop)
        ascending = bool((np.diff(self.nums) > 0).all())
        finite = bool(np.isfinite(self.similarity).all())
        last = int(self.nums.max(initial=-1))
        return ascending and finite and bool(inside.all()) and last < num_items

    @staticmethod
    def joined(parts: Sequence[ContentLinks]) -> ContentLinks:
        """Those of several, at least one, each of items with higher nums than those before."""
        return ContentLinks(*map(np.concatenate, zip(*parts, strict=True)))

    @property
    def unit(self) -> float:
        """The median similarity, 1 without any."""
        there = self.similarity[self.similarity > 0]
        return float(np.median(there)) if len(there) else 1.0

    def weights(self, num_items: int, unit: float) -> ItemNeighbours | None:
        """The sums of similarities as a source of scores; None without any.

        Args:
            num_items: R.
            unit: see `ItemNeighbours`; the same wherever scores are compared.
        """
        there = self.similarity > 0
        if not there.any():
            return None
        new = np.repeat(self.nums, there.sum(axis=1))
        values = self.similarity[there]
        weights: Matrix = sparse.csr_array(
            (values, (self.near[there].astype(np.int64), new)), shape=(num_items, num_items)
        )
        return ItemNeighbours(weights, 0, unit)


class ContentNeighbours:
    """Finds the trained items that are most like others, by the cosine of their terms, weighted by
    TF-IDF as the tower of new items weights them."""

    def __init__(
        self, tower: ColdTower, items: EntityTable, item_counts: NDArray[np.int64]
    ) -> None:
        """Read the trained items.

        Args:
            tower: fitted, with terms.
            items: all of them.
            item_counts: (R,) training rows; an item without one is not looked for.
        """
        nums = np.flatnonzero(item_counts > 0)
        if len(nums) > MAX_TRAINED:
            most = np.argsort(-item_counts[nums], kind="stable")[:MAX_TRAINED]
            nums = np.sort(nums[most])
        self._tower = tower
        self._nums = nums.astype(np.int32)
        self._terms = term_vectors(tower, items.gather(torch.from_numpy(nums))).T.tocsr()

    @staticmethod
    def of(
        tower: ColdTower | None, items: EntityTable, item_counts: NDArray[np.int64]
    ) -> ContentNeighbours | None:
        """None where no feature has terms."""
        if tower is None or not tower.bags:
            return None
        return ContentNeighbours(tower, items, item_counts)

    def links(self, nums: NDArray[np.int64], features: Features) -> ContentLinks:
        """Those of new items.

        Args:
            nums: (A,) ascending.
            features: name -> (A, ...) encoded, all that the tower reads.
        """
        near = np.full((len(nums), NEIGHBOURS), NO_ITEM, dtype=np.int32)
        similarity = np.zeros(near.shape, dtype=np.float32)
        vectors = term_vectors(self._tower, features)
        block = max(1, CELLS_PER_BLOCK // max(1, len(self._nums)))
        for start in range(0, len(nums), block):
            found = (vectors[start : start + block] @ self._terms).tocsr()
            for row in range(found.shape[0]):
                part = slice(found.indptr[row], found.indptr[row + 1])
                places, values = found.indices[part], found.data[part]
                # Of equal ones the lower num, however the product has put them.
                order = np.lexsort((places, -values))[:NEIGHBOURS]
                near[start + row, : len(order)] = self._nums[places[order]]
                similarity[start + row, : len(order)] = values[order]
        return ContentLinks(nums, near, similarity)


def term_vectors(tower: ColdTower, features: Features) -> Matrix:
    """(A, V) the weighted terms of items, each feature's and the whole row of length 1."""
    device = tower.weights.device
    there = {name: features[name].to(device) for name in tower.bag_names}
    parts = [
        sparse.csr_array(
            tuple(part.cpu().numpy() for part in (terms.weights, terms.nums, terms.starts)),
            shape=(len(terms.starts) - 1, terms.num_terms),
        )
        for terms in tower.terms(there)
    ]
    stacked = sparse.hstack(parts, format="csr", dtype=np.float32)
    lengths = np.sqrt(np.asarray(stacked.multiply(stacked).sum(axis=1))).ravel()
    rows = np.repeat(lengths, np.diff(stacked.indptr))
    stacked.data = stacked.data / np.maximum(rows, np.finfo(np.float32).tiny)
    return sparse.csr_array(stacked)
