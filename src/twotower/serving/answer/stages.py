"""The stages of an answer: retrieve by the towers, blend in other sources, rank, diversify.

Shapes: Q queries, k answers, K candidates, D embedding_dim.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM
from twotower.index import SearchResult, VectorIndex
from twotower.serving.answer.diversity import diversified
from twotower.serving.answer.reasons import normalized
from twotower.serving.bundle.all_items import Retrieved
from twotower.serving.bundle.blended_retrieval import BlendedRetrieval, products
from twotower.serving.bundle.queries import BLEND, RANK, RETRIEVE, Floats, Queries, RankingStage
from twotower.serving.bundle.query_encoder import QueryEncoder

NUM_CANDIDATES = 100
"""Items retrieved for a later stage where its config names no number."""

DIVERSIFY = "diversify"


class StageAnswer(NamedTuple):
    """Answers to Q queries, best first.

    Attributes:
        item_nums: (Q, k), `NO_ITEM` where there is none.
        scores: (Q, k) of the last stage that scores, -inf where there is no item.
        stage_scores: stage -> (Q, k), of the stages that ran.
        seconds: stage -> time that it took for all Q queries.
    """

    item_nums: NDArray[np.int64]
    scores: Floats
    stage_scores: dict[str, Floats]
    seconds: dict[str, float]

    @property
    def found(self) -> SearchResult:
        """The items and the scores of the last stage."""
        return SearchResult(self.scores, self.item_nums)

    def take(self, places: NDArray[np.int64]) -> StageAnswer:
        """The answers at some places (Q, W) of each query, in that order."""
        return self._each(lambda values: np.take_along_axis(values, places, 1))

    def first(self, k: int) -> StageAnswer:
        """The first k of each query."""
        return self._each(lambda values: values[:, :k])

    def _each(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> StageAnswer:
        return StageAnswer(
            change(self.item_nums),
            change(self.scores),
            {stage: change(scores) for stage, scores in self.stage_scores.items()},
            self.seconds,
        )


class Stages:
    """Runs them. Filters are applied in the first one, so that k items come back where k exist."""

    def __init__(
        self,
        queries: QueryEncoder,
        index: VectorIndex,
        ranker: RankingStage | None,
        *,
        similarity_dim: int,
        blended: BlendedRetrieval | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            queries: runs the query tower.
            index: over the item vectors.
            ranker: orders the candidates; without one the towers' order stands.
            similarity_dim: similarity is measured on this many leading components of the vectors.
            blended: other sources of candidates over the same index; without them there are those
                of the towers.
        """
        self.queries = queries
        self.index = index
        self.ranker = ranker
        self.similarity_dim = similarity_dim
        self.blended = blended

    def run(
        self,
        queries: Queries,
        k: int,
        *,
        excluded: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
        diversity: float = 0.0,
    ) -> StageAnswer:
        """The k best items of each query.

        Args:
            queries: Q of them.
            k: at least 1.
            excluded: Q lists of item nums that the query does not want.
            allowed: (max item num + 1,) which items may be answered at all.
            diversity: from 0, the best items, to 1, items as unlike each other as can be; see
                `diversified`.
        """
        seconds: dict[str, float] = {}
        with timed(seconds, RETRIEVE):
            width = self.width(k, diversity)
            answer = self.retrieve(queries, width, excluded, allowed)._replace(seconds=seconds)
        if self.ranker is not None:
            with timed(seconds, RANK):
                said = self.ranker.score(queries, answer.found)
                scores = np.where(answer.item_nums == NO_ITEM, -np.inf, said).astype(np.float32)
                ranked = {**answer.stage_scores, RANK: scores}
                order = np.argsort(-scores, axis=1, kind="stable")
                answer = answer._replace(scores=scores, stage_scores=ranked).take(order)
        if diversity > 0:
            with timed(seconds, DIVERSIFY):
                nums, scores = answer.item_nums, answer.scores
                order = diversified(nums, scores, self._directions(nums), k, diversity)
                answer = answer.take(order)
        return answer.first(k)

    def width(self, k: int, diversity: float) -> int:
        """How many candidates are retrieved for k answers."""
        if self.ranker is not None:
            return max(k, self.ranker.num_candidates)
        return max(k, NUM_CANDIDATES) if diversity > 0 else k

    def retrieve(
        self,
        queries: Queries,
        num_candidates: int,
        excluded: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> StageAnswer:
        """What is there before the ranker: the candidates of the towers, blended with those of
        other sources where the model has any."""
        vectors = self.queries.vectors(queries)
        if self.blended is None:
            found = self.index.search(vectors, num_candidates, excluded=excluded, allowed=allowed)
            return StageAnswer(found.item_nums, found.scores, {RETRIEVE: found.scores}, {})
        return _both(self.blended.best(queries, vectors, num_candidates, excluded, allowed))

    def score(self, queries: Queries, item_nums: NDArray[np.int64]) -> StageAnswer:
        """Items (Q, K) of the index with their scores, in this order."""
        vectors = self.queries.vectors(queries)
        if self.blended is None:
            towers = products(vectors, self.index, item_nums)
            answer = StageAnswer(item_nums, towers, {RETRIEVE: towers}, {})
        else:
            answer = _both(self.blended.score(queries, vectors, item_nums))
        if self.ranker is None or not item_nums.size:
            return answer
        ranked = self.ranker.score(queries, answer.found)
        return answer._replace(scores=ranked, stage_scores={**answer.stage_scores, RANK: ranked})

    def _directions(self, nums: NDArray[np.int64]) -> Floats:
        """(Q, K, D) the items' vectors of length 1; zeros where there is no item."""
        flat = self.index.vectors_of(nums.ravel())[:, : self.similarity_dim]
        return normalized(flat).reshape(*nums.shape, -1)


def _both(retrieved: Retrieved) -> StageAnswer:
    """What was retrieved, as the answer of two stages."""
    nums, scores, towers = retrieved
    return StageAnswer(nums, scores, {RETRIEVE: towers, BLEND: scores}, {})


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note how long a stage takes."""
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
