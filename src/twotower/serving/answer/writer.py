"""From item nums and scores to an answer that a person can read: raw ids, columns, reasons."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ranked import HISTORY, KNOWN, NO_ITEM, PATHS, POPULAR
from twotower.data.arrays.top_k import places_of
from twotower.data.dataset.entities import EntityTable, Features
from twotower.index import VectorIndex
from twotower.models.baselines.popularity_ranker import PopularityRanker
from twotower.serving.answer.answers import Recommendation, RecommendedItem
from twotower.serving.answer.fallback import Staged
from twotower.serving.answer.reasons import feature_reason, history_reasons, names_of


class AnswerWriter:
    """Words what a `FallbackChain` found."""

    def __init__(
        self,
        items: EntityTable,
        index: VectorIndex,
        popularity: PopularityRanker,
        *,
        num_taste: int,
        live: bool,
    ) -> None:
        """Put the parts together.

        Args:
            items: the table that nums count in.
            index: holds the vectors by which items are near each other.
            popularity: gives the reasons of what is popular.
            num_taste: so many coordinates of a vector tell how alike two items are.
            live: whether an event that comes now can change an answer.
        """
        self.items = items
        self.index = index
        self.popularity = popularity
        self.num_taste = num_taste
        self.live = live

    def answer(
        self,
        user_id: str | int | None,
        seen: NDArray[np.int32],
        staged: Staged,
        place: int,
        context: Features | None,
    ) -> Recommendation:
        """The answer to one of Q queries.

        Args:
            user_id: as asked; None for somebody invented.
            seen: item nums that the user took.
            staged: what was found for all Q.
            place: of the query among them.
            context: name -> (Q, ...), None without one.
        """
        ranked = staged.ranked
        there = ranked.item_nums[place] != NO_ITEM
        nums, scores = ranked.item_nums[place][there], ranked.scores[place][there]
        path = int(ranked.path[place])
        by_stage: dict[str, NDArray[np.float32]] = {}
        if path == POPULAR:
            told = {name: column[place : place + 1] for name, column in (context or {}).items()}
            reasons = self.popularity.reasons(nums, told)
        else:
            by_stage = {stage: values[place] for stage, values in staged.stage_scores.items()}
            reasons = self._reasons(path, nums, seen)
        items = [
            self.item(
                int(num),
                float(scores[rank]),
                reasons[rank],
                {stage: float(values[rank]) for stage, values in by_stage.items()},
            )
            for rank, num in enumerate(nums)
        ]
        return Recommendation(user_id, PATHS[path], items, live=self.live)

    def _reasons(self, path: int, nums: NDArray[np.int64], seen: NDArray[np.int32]) -> list[str]:
        # Nothing is near what has no vector.
        near = seen[places_of(self.index.item_nums, seen) >= 0]
        if path in (KNOWN, HISTORY) and len(near):
            names = partial(names_of, self.items)
            return history_reasons(self.index, names, nums, near, self.num_taste)
        return [feature_reason(self.items.schema)] * len(nums)

    def item(
        self, num: int, score: float, reason: str, stage_scores: dict[str, float]
    ) -> RecommendedItem:
        """An item with its columns."""
        row = self.items.frame.row(num, named=True)
        row.pop(self.items.key)
        return RecommendedItem(self.items.ids[num], score, reason, row, stage_scores)
