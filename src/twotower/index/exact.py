"""Exact search: a matrix product and a top-k, a block of queries at a time. The oracle of all other
indexes, and fast enough up to about 100,000 items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor

from twotower.data.lists import Lists
from twotower.data.ranking import NO_ITEM
from twotower.index.base import Found, check_search, places_of, vectors_at

BLOCK_SCORES = 1 << 25
"""Scores in memory at once, 128 MB: a product of few queries at a time spends most of its time on
reading the item vectors."""
MIN_ROWS = 16
"""Smaller blocks are filled up to it. Products of a few rows are added up in another order, which
would give the same query other last digits alone than in a batch, and equal items other scores."""
GROUP = 64
"""Neighbouring columns whose maximum `top_k` looks at before it looks at them."""


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
        excluded: Lists | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Found:
        """See `VectorIndex`. Memory is that of one block of scores."""
        check_search(query_vectors, k, width=self._vectors.shape[1])
        num_queries = len(query_vectors)
        scores = np.full((num_queries, k), -np.inf, dtype=np.float32)
        nums = np.full((num_queries, k), NO_ITEM, dtype=np.int64)
        kept, vectors = self._kept(allowed)
        width = min(k, len(kept))
        if not width or not num_queries:
            return Found(scores, nums)
        queries = torch.from_numpy(np.ascontiguousarray(query_vectors, dtype=np.float32))
        block = max(MIN_ROWS, min(num_queries, BLOCK_SCORES // len(kept)))
        buffer = torch.empty(block, len(kept))
        for start in range(0, num_queries, block):
            rows = slice(start, min(start + block, num_queries))
            products = multiply(queries[rows], vectors, buffer)
            if excluded is not None:
                hide(products, excluded.take(np.arange(rows.start, rows.stop)), kept)
            best, places = (part.numpy() for part in top_k(products, width))
            scores[rows, :width] = best
            nums[rows, :width] = np.where(np.isneginf(best), NO_ITEM, kept[places])
        return Found(scores, nums)

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
        tensors = map_file(folder / "exact.safetensors")
        return ExactIndex(tensors["vectors"], tensors["item_nums"])


def map_file(file: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file, mapped into memory (copied when written to).

    Of the format only what `save` writes: float32 and int64.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header: dict[str, Any] = json.loads(stream.read(length))
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            dtype = {"F32": np.float32, "I64": np.int64}[entry["dtype"]]
            shape, start = tuple(entry["shape"]), 8 + length + entry["data_offsets"][0]
            # Nothing can be mapped of an empty file part.
            empty = not all(shape)
            mapped = np.zeros(shape, dtype) if empty else np.memmap(file, dtype, "c", start, shape)
            found[name] = np.asarray(mapped)
    return found


def multiply(queries: Tensor, vectors: Tensor, buffer: Tensor) -> Tensor:
    """Inner products (B, N) of queries (B, D) and vectors (N, D), in the first rows of a buffer
    (at least B and `MIN_ROWS`, N)."""
    rows = max(MIN_ROWS, len(queries))
    filled = torch.nn.functional.pad(queries, (0, 0, 0, rows - len(queries)))
    return torch.mm(filled, vectors.T, out=buffer[:rows])[: len(queries)]


def hide(products: Tensor, excluded: Lists, item_nums: NDArray[np.int64]) -> None:
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


def top_k(products: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row (B, N), k at most N: values (B, k), best first, and columns (B, k),
    equal values by column, at the k-th place, too.

    `torch.topk` orders equal values as it likes; rows in which the k-th value goes on behind the
    k-th place are told apart by `lowest_columns`.
    """
    width = min(k + 1, products.shape[1])
    values, columns = largest(products, width)
    if width > k:
        last, after = values[:, k - 1], values[:, k]
        values, columns = values[:, :k].clone(), columns[:, :k].clone()
        tied = torch.nonzero((last == after) & last.isfinite())[:, 0]
        if len(tied):
            columns[tied] = lowest_columns(products[tied], last[tied], k)
            values[tied] = products[tied[:, None], columns[tied]]
    columns, order = columns.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


def largest(products: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """`products.topk(width)` of (B, N), faster on long rows.

    The `width` largest values of a row lie in the `width` groups of columns that have the largest
    maxima: only those are looked at.
    """
    num_groups = products.shape[1] // GROUP
    if num_groups < 4 * width:
        values, columns = products.topk(width, dim=1)
        return values, columns
    end = num_groups * GROUP
    groups = products[:, :end].reshape(-1, num_groups, GROUP)
    chosen = groups.amax(dim=2).topk(width, dim=1, sorted=False).indices
    inside = groups.gather(1, chosen[:, :, None].expand(-1, -1, GROUP)).flatten(1)
    values, places = torch.cat([inside, products[:, end:]], dim=1).topk(width, dim=1)
    in_rest = places - width * GROUP + end
    in_group = chosen.gather(1, places.clamp(max=width * GROUP - 1) // GROUP) * GROUP
    return values, torch.where(in_rest >= end, in_rest, in_group + places % GROUP)


def lowest_columns(products: Tensor, last: Tensor, k: int) -> Tensor:
    """Columns (T, k) of the values above the k-th largest one, `last` (T,), in each row of (T, N),
    filled up with the lowest columns that are equal to it."""
    above, level = products > last[:, None], products == last[:, None]
    missing = k - above.sum(dim=1, keepdim=True)
    chosen = above | (level & (level.cumsum(dim=1) <= missing))
    return chosen.nonzero()[:, 1].reshape(-1, k)
