"""Exact search: a matrix product and a top-k, a block of queries at a time. The oracle of all other
indexes, and fast enough up to about 100,000 items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from twotower.data.lists import Lists
from twotower.data.ranking import NO_ITEM
from twotower.index.base import Found, places_of

BLOCK_SCORES = 1 << 23
"""Scores in memory at once: 32 MB."""


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

    def search(
        self,
        query_vectors: NDArray[np.float32],
        k: int,
        *,
        excluded: Lists | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Found:
        """See `VectorIndex`. Memory is that of one block of scores."""
        num_queries = len(query_vectors)
        scores = np.full((num_queries, k), -np.inf, dtype=np.float32)
        nums = np.full((num_queries, k), NO_ITEM, dtype=np.int64)
        kept = self.item_nums
        vectors = self._tensor
        if allowed is not None:
            mask = allowed[self.item_nums]
            kept, vectors = kept[mask], vectors[torch.from_numpy(mask)]
        width = min(k, len(kept))
        if not width or not num_queries:
            return Found(scores, nums)
        queries = torch.from_numpy(np.ascontiguousarray(query_vectors, dtype=np.float32))
        block = max(1, BLOCK_SCORES // len(kept))
        for start in range(0, num_queries, block):
            rows = slice(start, min(start + block, num_queries))
            products = queries[rows] @ vectors.T
            if excluded is not None:
                hide(products, excluded.take(np.arange(rows.start, rows.stop)), kept)
            best, places = top_k(products, width)
            found = kept[places]
            found[np.isneginf(best)] = NO_ITEM
            scores[rows, :width], nums[rows, :width] = best, found
        return Found(scores, nums)

    def save(self, folder: Path) -> None:
        """Write `exact.safetensors`."""
        save_file(
            {"vectors": self._vectors, "item_nums": self.item_nums}, folder / "exact.safetensors"
        )

    @staticmethod
    def load(folder: Path) -> ExactIndex:
        """Read what `save` wrote."""
        tensors = load_file(folder / "exact.safetensors")
        return ExactIndex(tensors["vectors"], tensors["item_nums"])


def hide(products: torch.Tensor, excluded: Lists, item_nums: NDArray[np.int64]) -> None:
    """Set the scores of excluded items to -inf, in place.

    Args:
        products: (B, N).
        excluded: B lists of item nums; nums that are not among `item_nums` are passed over.
        item_nums: (N,) ascending.
    """
    columns = places_of(item_nums, excluded.values)
    there = columns >= 0
    rows = excluded.keys()[there]
    products[torch.from_numpy(rows), torch.from_numpy(columns[there])] = -np.inf


def top_k(products: torch.Tensor, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k largest of each row (B, N): values and columns, equal values by column.

    torch.topk orders ties as it likes, at the k-th place, too; rows in which the k-th and the next
    value are equal are sorted whole.
    """
    width = min(k + 1, products.shape[1])
    values, columns = products.topk(width, dim=1)
    if width > k:
        tied = torch.nonzero((values[:, k] == values[:, k - 1]) & values[:, k].isfinite())[:, 0]
        values, columns = values[:, :k], columns[:, :k].clone()
        if len(tied):
            whole = products[tied].sort(dim=1, descending=True, stable=True)
            values[tied], columns[tied] = whole.values[:, :k], whole.indices[:, :k]
    best, places = values.numpy().copy(), columns.numpy().copy()
    if (best[:, 1:] == best[:, :-1]).any():
        order = np.lexsort((places, -best), axis=1)
        best, places = np.take_along_axis(best, order, 1), np.take_along_axis(places, order, 1)
    return best, places
