"""The fallback chain: the stages answer whom the towers can read, popularity everybody else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM, POPULAR
from twotower.data.dataset.entities import OUTSIDE
from twotower.models.baselines.popularity_ranker import PopularityRanker
from twotower.serving.answer.stages import StageAnswer, Stages
from twotower.serving.bundle.queries import Queries

CHUNK = 4096
"""Queries that a tower encodes at once."""


class FallbackChain:
    """Answers each query by the step of the chain that its path names."""

    def __init__(self, stages: Stages, popularity: PopularityRanker) -> None:
        self.stages = stages
        self.popularity = popularity

    def run(
        self,
        path: NDArray[np.int8],
        queries: Callable[[NDArray[np.int64]], Queries],
        k: int,
        *,
        unwanted: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
        diversity: float = 0.0,
    ) -> StageAnswer:
        """The k best items of each of Q queries; the scores of a stage are -inf where it did not
        run.

        Args:
            path: (Q,) places in `PATHS`.
            queries: rows (R,) -> what the models read of these queries.
            k: at least 1.
            unwanted: Q lists of item nums to leave out.
            allowed: (len(items),) which items may be answered at all.
            diversity: as in `Stages.run`; popularity knows none.
        """
        if len(path) <= CHUNK and (path != POPULAR).all():
            return self.stages.run(
                queries(np.arange(len(path))),
                k,
                excluded=unwanted,
                allowed=allowed,
                diversity=diversity,
            )
        nums = np.full((len(path), k), NO_ITEM, dtype=np.int64)
        scores = np.full((len(path), k), -np.inf, dtype=np.float32)
        answer = StageAnswer(nums, scores, {}, {})
        for start in range(0, len(path), CHUNK):
            rows = np.flatnonzero(path[start : start + CHUNK] != POPULAR) + start
            if not len(rows):
                continue
            found = self.stages.run(
                queries(rows),
                k,
                excluded=None if unwanted is None else unwanted.take(rows),
                allowed=allowed,
                diversity=diversity,
            )
            nums[rows], scores[rows] = found.item_nums, found.scores
            for stage, values in found.stage_scores.items():
                answer.stage_scores.setdefault(stage, np.full_like(scores, -np.inf))[rows] = values
            for stage, spent in found.seconds.items():
                answer.seconds[stage] = answer.seconds.get(stage, 0.0) + spent
        rest = np.flatnonzero(path == POPULAR)
        if len(rest):
            popular = self.popularity.top_k(
                np.full(len(rest), OUTSIDE),
                k,
                context=queries(rest).context,
                mask_seen=False,
                excluded=None if unwanted is None else unwanted.take(rest),
                allowed=allowed,
            )
            nums[rest], scores[rest] = popular.item_nums, popular.scores
        return answer
