"""The top k of many scores, one block of queries at a time: inner products, exclusions, and a
deterministic order of equal scores."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.arrays.ragged import Ragged

MIN_ROWS = 16
"""Smaller blocks are padded to it. Products of a few rows are summed in another order, so that the
same query alone and in a batch, and equal items, would get scores that differ in the last
digits."""
COLUMNS_PER_GROUP = 64
"""Neighbouring columns of which `largest` first computes the maximum."""


def multiply(queries: Tensor, vectors: Tensor, buffer: Tensor) -> Tensor:
    """Inner products (B, N) of queries (B, D) and vectors (N, D), in the first rows of a buffer
    (at least B and `MIN_ROWS`, N)."""
    rows = max(MIN_ROWS, len(queries))
    filled = torch.nn.functional.pad(queries, (0, 0, 0, rows - len(queries)))
    return torch.mm(filled, vectors.T, out=buffer[:rows])[: len(queries)]


def hide(products: Tensor, excluded: Ragged, item_nums: NDArray[np.int64]) -> None:
    """Set the scores of excluded items to -inf, in place.

    Args:
        products: (B, N).
        excluded: B lists of item nums; nums that are not among `item_nums` are ignored.
        item_nums: (N,) ascending.
    """
    columns = places_of(item_nums, excluded.values)
    there = columns >= 0
    rows = excluded.keys()[there]
    products[torch.from_numpy(rows), torch.from_numpy(columns[there])] = -np.inf


def top_k(products: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row (B, N), k at most N: values (B, k), best first, and columns (B, k),
    equal values by column, at the k-th place, too.

    `torch.topk` orders equal values arbitrarily; rows with further values equal to the k-th are
    resolved by `lowest_columns`.
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
    maxima: only those are searched.
    """
    num_groups = products.shape[1] // COLUMNS_PER_GROUP
    if num_groups < 4 * width:
        values, columns = products.topk(width, dim=1)
        return values, columns
    end = num_groups * COLUMNS_PER_GROUP
    groups = products[:, :end].reshape(-1, num_groups, COLUMNS_PER_GROUP)
    chosen = groups.amax(dim=2).topk(width, dim=1, sorted=False).indices
    inside = groups.gather(1, chosen[:, :, None].expand(-1, -1, COLUMNS_PER_GROUP)).flatten(1)
    values, places = torch.cat([inside, products[:, end:]], dim=1).topk(width, dim=1)
    in_rest = places - width * COLUMNS_PER_GROUP + end
    in_group = (
        chosen.gather(1, places.clamp(max=width * COLUMNS_PER_GROUP - 1) // COLUMNS_PER_GROUP)
        * COLUMNS_PER_GROUP
    )
    return values, torch.where(in_rest >= end, in_rest, in_group + places % COLUMNS_PER_GROUP)


def lowest_columns(products: Tensor, last: Tensor, k: int) -> Tensor:
    """Columns (T, k) of the values above the k-th largest one, `last` (T,), in each row of (T, N),
    filled up with the lowest columns that are equal to it."""
    above, level = products > last[:, None], products == last[:, None]
    missing = k - above.sum(dim=1, keepdim=True)
    chosen = above | (level & (level.cumsum(dim=1) <= missing))
    return chosen.nonzero()[:, 1].reshape(-1, k)


def places_of(item_nums: NDArray[np.int64], wanted: NDArray[np.integer]) -> NDArray[np.int64]:
    """Places (T,) of item nums in an ascending array, -1 for those that are not in it."""
    if not len(item_nums):
        return np.full(len(wanted), -1, dtype=np.int64)
    places = np.minimum(np.searchsorted(item_nums, wanted), len(item_nums) - 1)
    return np.where(item_nums[places] == wanted, places, -1).astype(np.int64)
