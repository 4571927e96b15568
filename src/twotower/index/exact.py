"""Exact search: a matrix product and a top-k, one block of queries at a time. The reference for all
other indexes, and fast enough up to about 100,000 items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import Tensor

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM
from twotower.data.arrays.top_k import MIN_ROWS, hide, multiply, places_of, top_k
from twotower.index.base import SearchResult, check_search, vectors_at

SCORES_PER_BLOCK, ROWS_PER_BLOCK = 1 << 25, 256
"""Scores in memory at once, 128 MB: a product of few queries at a time spends most of its time on
reading the item vectors; of many items, some at a time. Of few items, no more rows than these:
their scores are still in the cache when the best are looked for."""


class ExactIndex:
    """All inner products. Of equal scores the lower item num comes first."""

    kind = "exact"

    def __init__(self, item_vectors: NDArray[np.float32], item_nums: NDArray[np.int64]) -> None:
        """Keep the vectors.

        Args:
            item_vectors: (N, D).
            item_nums: (N,) ascending.
        """
        self.item_nums = np.ascontiguousarray(item_nums, dtype=np.int64)
        self._vectors = np.ascontiguousarray(item_vectors, dtype=np.float32)
        self._tensor = torch.from_numpy(self._vectors)

    def vectors(self) -> NDArray[np.float32]:
        """(N, D)."""
        return self._vectors

    @property
    def nbytes(self) -> int:
        """Memory of the vectors."""
        return self._vectors.nbytes

    def vectors_of(self, nums: NDArray[np.integer]) -> NDArray[np.float32]:
        """(T, D); see `VectorIndex`."""
        return vectors_at(self._vectors, places_of(self.item_nums, nums))

    def search(
        self,
        query_vectors: NDArray[np.float32],
        k: int,
        *,
        excluded: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> SearchResult:
        """See `VectorIndex`. Memory is that of one block of scores."""
        check_search(query_vectors, k, width=self._vectors.shape[1])
        num_queries = len(query_vectors)
        scores = np.full((num_queries, k), -np.inf, dtype=np.float32)
        nums = np.full((num_queries, k), NO_ITEM, dtype=np.int64)
        kept, vectors = self._kept(allowed)
        width = min(k, len(kept))
        if not width or not num_queries:
            return SearchResult(scores, nums)
        queries = torch.from_numpy(np.ascontiguousarray(query_vectors, dtype=np.float32))
        items = min(len(kept), max(1, SCORES_PER_BLOCK // MIN_ROWS))
        block = max(MIN_ROWS, min(num_queries, ROWS_PER_BLOCK, SCORES_PER_BLOCK // items))
        buffer = torch.empty(block, items)
        parts = [slice(start, start + items) for start in range(0, len(kept), items)]
        for start in range(0, num_queries, block):
            rows = slice(start, min(start + block, num_queries))
            unwanted = None
            if excluded is not None:
                unwanted = excluded.take(np.arange(rows.start, rows.stop))
            found = [
                _best(queries[rows], vectors[part], kept[part], width, unwanted, buffer)
                for part in parts
            ]
            best, its_nums = found[0] if len(found) == 1 else _merged(found, width)
            scores[rows, :width] = best
            nums[rows, :width] = np.where(np.isneginf(best), NO_ITEM, its_nums)
        return SearchResult(scores, nums)

    def _kept(self, allowed: NDArray[np.bool_] | None) -> tuple[NDArray[np.int64], Tensor]:
        if allowed is None:
            return self.item_nums, self._tensor
        places = np.flatnonzero(allowed[self.item_nums])
        return self.item_nums[places], self._tensor[torch.from_numpy(places)]

    def save(self, folder: Path) -> None:
        """Write `exact.safetensors`."""
        save_file(
            {"vectors": self._vectors, "item_nums": self.item_nums}, folder / "exact.safetensors"
        )

    @staticmethod
    def load(folder: Path) -> ExactIndex:
        """Read what `save` wrote, mapped into memory, so that processes share it."""
        tensors = load_file(folder / "exact.safetensors")
        return ExactIndex(tensors["vectors"].numpy(), tensors["item_nums"].numpy())


def _best(
    queries: Tensor,
    vectors: Tensor,
    item_nums: NDArray[np.int64],
    k: int,
    excluded: Ragged | None,
    buffer: Tensor,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores and nums (B, at most k) of the best of some items (n,), best first."""
    products = multiply(queries, vectors, buffer[:, : len(item_nums)])
    if excluded is not None:
        hide(products, excluded, item_nums)
    best, places = top_k(products, min(k, len(item_nums)))
    return best.numpy(), item_nums[places.numpy()]


def _merged(
    found: list[tuple[NDArray[np.float32], NDArray[np.int64]]], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best of all parts, which are in the order of their items."""
    scores, nums = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(nums, order, axis=1)
