"""Processes that train together have each batch of one process between them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.data.batches.test_batches import interactions, targets
from twotower.data.batches.batches import (
    Batch,
    Batches,
    PairBatches,
    SequenceBatches,
    UserBatches,
)
from twotower.data.dataset.interactions import Interactions
from twotower.errors import TrainingError
from twotower.parallel.processes import ProcessGroup
from twotower.parallel.shards import Shards

Make = Callable[[Interactions, Shards | None], Batches]
MAKERS: dict[str, Make] = {
    "pairs": lambda part, shards: PairBatches(part, batch_size=5, seed=3, shards=shards),
    "users": lambda part, shards: UserBatches(
        part, batch_size=2, seed=3, max_targets=3, shards=shards
    ),
    "sequences": lambda part, shards: SequenceBatches(
        part, batch_size=2, seed=3, max_length=4, shards=shards
    ),
}


@pytest.fixture
def part() -> Interactions:
    rng = np.random.default_rng(0)
    rows = zip(rng.integers(0, 9, 80).tolist(), rng.integers(0, 20, 80).tolist(), strict=True)
    return interactions(list(rows))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("size", [2, 3])
def test_their_batches_are_those_of_one(make: Make, size: int, part: Interactions) -> None:
    alone = make(part, None)
    shards = [Shards(part.users.end_warm, ProcessGroup(rank, size)) for rank in range(size)]
    together = [make(part, own) for own in shards]
    assert [len(batches) for batches in together] == [len(alone)] * size
    for number in range(2):
        parts: list[tuple[Batch, ...]] = list(
            zip(*(batches.epoch(number) for batches in together), strict=True)
        )
        assert len(parts) == len(alone)
        for batch, found in zip(alone.epoch(number), parts, strict=True):
            assert targets(list(found)) == targets([batch])
            if batch.history is None:  # whose targets are queries of their own
                assert {one.has_single_targets for one in found} == {batch.has_single_targets}
            for own, one in zip(shards, found, strict=True):
                assert own.has(one.user_num.numpy()).all()


def test_there_are_batches_without_a_query(part: Interactions) -> None:
    batches = MAKERS["users"](part, Shards(part.users.end_warm, ProcessGroup(2, 3)))
    sizes = [len(batch) for batch in batches.epoch(0)]
    assert 0 in sizes
    assert sum(sizes) > 0


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_process_without_a_user_is_an_error(make: Make) -> None:
    part = interactions([(1, 2), (1, 3)])
    taken = Shards(part.users.end_warm, ProcessGroup(0, 8)).owner(part.user_num.astype(np.int64))
    free = next(rank for rank in range(8) if rank not in taken)
    with pytest.raises(TrainingError, match=rf"process {free + 1} of 8 has no user"):
        make(part, Shards(part.users.end_warm, ProcessGroup(free, 8)))
