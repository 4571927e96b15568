"""An index under an overlay answers as one that was built anew."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.contracts.index_contract import ITEMS, NUMS, QUERIES, clustered, oracle
from twotower.config import IndexConfig
from twotower.data.arrays.ragged import Ragged
from twotower.index import build_index
from twotower.serving.overlay import overlaid_index
from twotower.serving.overlay.overlaid_index import OverlaidIndex

NEW = clustered(40, seed=7)
CHANGED = NUMS[[3, 500]]
ADDED = NUMS.max() + 1 + np.arange(38)
REMOVED = NUMS[[0, 10, 20]]
OVER = np.concatenate([CHANGED, ADDED])
NUM_ITEMS = int(ADDED.max()) + 1


def overlaid(kind: str) -> OverlaidIndex:
    below = build_index(IndexConfig(kind=kind), ITEMS, NUMS)  # type: ignore[arg-type]
    return OverlaidIndex(
        below,
        hidden=np.concatenate([REMOVED, CHANGED]),
        nums=OVER,
        vectors=NEW,
        num_items=NUM_ITEMS,
    )


def anew() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    kept = ~np.isin(NUMS, [*REMOVED, *CHANGED])
    nums = np.concatenate([NUMS[kept], OVER])
    order = np.argsort(nums)
    return np.concatenate([ITEMS[kept], NEW])[order], nums[order]


@pytest.mark.parametrize("few", [0, 50])
@pytest.mark.parametrize("kind", ["exact", "flat"])
@pytest.mark.parametrize("share", [None, 0.5, 0.02])
def test_it_answers_as_an_index_that_was_built_anew(
    kind: str, few: int, share: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlaid_index, "FEW_HIDDEN", few)
    index = overlaid(kind)
    items, nums = anew()
    rng = np.random.default_rng(0)
    unwanted = Ragged.group(np.repeat(np.arange(60), 4), rng.choice(nums, 240), 60)
    allowed = None if share is None else rng.random(NUM_ITEMS) < share
    expected = oracle(QUERIES, 12, items=items, nums=nums, excluded=unwanted, allowed=allowed)
    if allowed is not None:
        allowed.flags.writeable = False
    for _ in range(2):
        found = index.search(QUERIES, 12, excluded=unwanted, allowed=allowed)
        assert found.item_nums.tolist() == expected.item_nums.tolist()
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)


def test_vectors_are_those_of_the_overlay_first() -> None:
    index = overlaid("exact")
    items, nums = anew()
    assert index.item_nums.tolist() == nums.tolist()
    np.testing.assert_array_equal(index.vectors(), items)
    wanted = np.array([CHANGED[0], REMOVED[0], NUMS[5], ADDED[3], -1, NUM_ITEMS + 9])
    zeros = np.zeros(32, dtype=np.float32)
    expected = [NEW[0], zeros, ITEMS[5], NEW[5], zeros, zeros]
    np.testing.assert_array_equal(index.vectors_of(wanted), expected)


def test_an_overlay_of_removals_alone() -> None:
    below = build_index(IndexConfig(kind="exact"), ITEMS, NUMS)
    none = np.zeros((0, 32), dtype=np.float32)
    nums = np.zeros(0, dtype=np.int64)
    index = OverlaidIndex(below, hidden=REMOVED, nums=nums, vectors=none, num_items=NUM_ITEMS)
    found = index.search(QUERIES, len(NUMS))
    assert not np.isin(found.item_nums, REMOVED).any()
    assert (found.item_nums[:, -len(REMOVED) :] == -1).all()
