"""The masked scores of a block, however many queries share a user's items."""

from __future__ import annotations

import resource

import pytest
import torch

from twotower.models.positives.block_masks import BlockMasks
from twotower.models.positives.user_positives import UserPositives
from twotower.models.retriever.losses.bsl import bsl
from twotower.models.retriever.losses.candidates import CandidateVectors
from twotower.models.retriever.losses.in_batch_softmax import in_batch_softmax
from twotower.models.retriever.losses.softmax import full_softmax

QUERIES, USERS, COLUMNS, TILE = 23, 4, 50, 9


@pytest.mark.parametrize("width", [7, 10, 64])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
@pytest.mark.parametrize("shared", [True, False])
def test_each_query_masks_the_columns_of_its_user(width: int, share: float, shared: bool) -> None:
    """Few and many masked columns, which take different ways."""
    generator = torch.Generator().manual_seed(3)
    users = USERS if shared else QUERIES
    hidden = torch.rand(users, COLUMNS, generator=generator) < share
    owner = torch.randint(users, (QUERIES,), generator=generator) if shared else None
    rows, columns = hidden.nonzero(as_tuple=True)
    # The columns of a user are in no order.
    order = torch.rand(len(rows), generator=generator).argsort()
    order = order[rows[order].argsort(stable=True)]
    num_blocks = -(-COLUMNS // width)
    masks = BlockMasks(
        UserPositives(rows[order], columns[order], owner), QUERIES, width, num_blocks
    )
    expected = hidden if owner is None else hidden[owner]
    for first in range(0, QUERIES, TILE):
        for place in range(num_blocks):
            part = expected[first : first + TILE, place * width : (place + 1) * width]
            scores = torch.ones(part.shape)
            masks.fill(scores, first, place, -torch.inf)
            assert torch.equal(scores == -torch.inf, part)
            assert (scores[~part] == 1).all()


def test_memory_does_not_grow_with_a_users_queries_times_items() -> None:
    """One user has all of 4,000 items and makes 20,000 queries: 80 million pairs, which would be
    gigabytes, are not all in memory."""
    num_queries, num_items = 20_000, 4_000
    items = torch.arange(num_items)
    positives = UserPositives(
        torch.zeros_like(items), items, torch.zeros(num_queries, dtype=torch.int64)
    )
    vectors = torch.ones(num_items, 4)
    item_num = torch.arange(num_queries)[:, None] % num_items
    ones = torch.ones(num_queries, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loss = full_softmax(
        torch.ones(num_queries, 4), vectors, item_num, ones.bool(), ones, positives=positives
    )
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert float(loss) == 0.0
    assert grown < 200_000  # kilobytes


@pytest.mark.parametrize("loss", ["in_batch", "bsl"])
def test_memory_does_not_grow_with_the_square_of_an_items_share(loss: str) -> None:
    """All of 10,000 queries and candidates are of one item: 100 million hits."""
    number = 10_000
    vectors, nums = torch.ones(number, 4), torch.zeros(number, dtype=torch.int64)
    ones = torch.ones(number)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if loss == "in_batch":
        value = in_batch_softmax(vectors, vectors, nums, ones)
        assert float(value) == 0.0
    else:
        others = CandidateVectors(
            torch.cat([vectors, torch.zeros(1, 4)]), torch.cat([nums, nums[:1] + 1])
        )
        columns = (nums[:, None], ones[:, None].bool(), ones[:, None])
        value = bsl(vectors, vectors[:, None], *columns, others, 1.0)
        assert float(value) == pytest.approx(-4.0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # kilobytes
