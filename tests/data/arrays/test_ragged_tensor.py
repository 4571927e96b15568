"""Lists in two flat tensors, taken row by row as the rows of a padded tensor are."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.data.arrays.ragged_tensor import RaggedTensor

LISTS = st.lists(st.lists(st.integers(1, 2**31 - 1), max_size=5), max_size=8)


def ragged(lists: list[list[int]]) -> RaggedTensor:
    lengths = torch.tensor([0, *map(len, lists)])
    values = torch.tensor([num for row in lists for num in row], dtype=torch.int32)
    return RaggedTensor(lengths.cumsum(0), values)


ROWS = [[5, 7], [], [3], [2, 9, 4]]


def test_by_hand() -> None:
    rows = ragged(ROWS)
    assert len(rows) == 4
    assert rows.tolist() == ROWS
    assert rows.rows.tolist() == [0, 0, 2, 3, 3, 3]
    assert rows.lengths.tolist() == [2, 0, 1, 3]
    assert rows.shape == (4, 3)
    assert rows.nbytes == 5 * 8 + 6 * 4
    assert rows.padded().tolist() == [[5, 7, 0], [0, 0, 0], [3, 0, 0], [2, 9, 4]]
    assert rows.padded().dtype == torch.int64


def test_rows_are_taken_by_slices_numbers_and_masks() -> None:
    rows = ragged(ROWS)
    assert rows[1:3].tolist() == [[], [3]]
    assert rows[-2:].tolist() == rows[2:99].tolist() == [[3], [2, 9, 4]]
    assert rows[3:1].tolist() == rows[4:].tolist() == []
    assert rows[torch.tensor([3, 0, 3, 1])].tolist() == [[2, 9, 4], [5, 7], [2, 9, 4], []]
    assert rows[torch.tensor([True, False, True, False])].tolist() == [[5, 7], [3]]
    assert rows[torch.tensor([], dtype=torch.int64)].tolist() == []
    assert rows[1:][torch.tensor([2])].tolist() == [[2, 9, 4]]


def test_a_copy_shares_no_memory_with_its_rows() -> None:
    rows = ragged(ROWS)
    copy = rows[2:4].clone()
    rows.values.zero_()
    assert copy.tolist() == [[3], [2, 9, 4]]
    assert copy.values.untyped_storage().nbytes() == 4 * 4


def test_no_row() -> None:
    rows = ragged([])
    assert (len(rows), rows.shape, rows.tolist()) == (0, (0, 1), [])
    assert rows.padded().shape == (0, 1)


@given(LISTS)
def test_padding_loses_nothing(lists: list[list[int]]) -> None:
    assert RaggedTensor.of_padded(ragged(lists).padded()).tolist() == lists


@given(LISTS, LISTS)
def test_the_rows_of_several_stand_one_behind_the_other(
    first: list[list[int]], second: list[list[int]]
) -> None:
    together = RaggedTensor.concatenated([ragged(first), ragged(second)])
    assert together.tolist() == first + second
    assert together.values.dtype == torch.int32
