"""A ranking stage whose items change: what is new lies behind the bundle's own rows."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.top_k import places_of
from twotower.data.dataset.entities import Features
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.serving.bundle.queries import Candidates, Floats, Queries


class OverlaidRanker:
    """A ranker with rows for the items of an overlay; an item that was changed has a new row, too,
    and with it no neighbours any more."""

    def __init__(
        self, below: NeuralRanker, *, nums: NDArray[np.int64], features: Features, num_items: int
    ) -> None:
        """Encode the items of an overlay.

        Args:
            below: of the bundle, with `num_items` rows.
            nums: (A,) ascending, of the added and the changed items.
            features: name -> (A, ...), theirs.
            num_items: rows of the bundle's item table.
        """
        self._ranker = below.with_more(features, len(nums))
        self._nums = nums
        self._num_items = num_items

    @property
    def num_candidates(self) -> int:
        """How many candidates it wants to be given."""
        return self._ranker.num_candidates

    def score(self, queries: Queries, candidates: Candidates) -> Floats:
        """(Q, K) probabilities; see `RankingStage`."""
        history, taken = queries.history, queries.taken
        if history is not None:
            rows = torch.from_numpy(self._rows(history.item_num.numpy()))
            history = history._replace(item_num=rows)
        if taken is not None:
            taken = Ragged(taken.offsets, self._rows(taken.values).astype(np.int32))
        return self._ranker.score(
            queries._replace(history=history, taken=taken),
            candidates._replace(item_nums=self._rows(candidates.item_nums)),
        )

    def _rows(self, nums: NDArray[np.integer]) -> NDArray[np.int64]:
        """Rows of the ranker for item nums of any shape."""
        places = places_of(self._nums, nums.ravel()).reshape(nums.shape)
        return np.where(places >= 0, self._num_items + places, nums).astype(np.int64)
