"""Rows are dealt out once each, evenly, and found again by any number of processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from twotower.parallel.processes import ONE, ProcessGroup
from twotower.parallel.shards import Shards

SIZES = [1, 2, 3, 7, 255, 256, 257, 1000, 5003]


@pytest.mark.parametrize("num_rows", SIZES)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_each_row_has_one_owner_and_one_place(num_rows: int, size: int) -> None:
    nums = torch.arange(num_rows)
    found = []
    for rank in range(size):
        shards = Shards(num_rows, ProcessGroup(rank, size))
        own = shards.own[shards.own >= 0]
        assert shards.capacity == len(shards.own)
        assert torch.equal(own.sort().values, nums[shards.owner(nums) == rank])
        assert torch.equal(shards.own[shards.local(own)], own)
        assert np.array_equal(shards.has(nums.numpy()), (shards.owner(nums) == rank).numpy())
        found.append(own)
    assert torch.equal(torch.cat(found).sort().values, nums)


@pytest.mark.parametrize("num_rows", SIZES)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_parts_one_after_the_other_are_the_table_in_the_kept_order(
    num_rows: int, size: int
) -> None:
    table = torch.randn(num_rows, 3)
    parts = [Shards(num_rows, ProcessGroup(rank, size)).cut(table) for rank in range(size)]
    assert torch.equal(Shards(num_rows, ONE).in_order(torch.cat(parts)), table)


def test_popular_rows_that_stand_together_are_spread() -> None:
    first = torch.arange(1, 1001)
    counts = torch.bincount(Shards(1_000_000, ProcessGroup(0, 4)).owner(first), minlength=4)
    assert counts.sum() == 1000
    assert counts.max() <= 1.05 * 1000 / 4
