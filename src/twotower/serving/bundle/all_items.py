"""The blend of all items of an exact index at once: no candidates to collect, one order of weighted
sums.

Shapes: Q queries, N items of the index, B queries of a block, K answers, R item nums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.arrays.distinct import distinct_values
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM
from twotower.data.arrays.top_k import MIN_ROWS, hide, multiply, top_k
from twotower.index import VectorIndex
from twotower.index.base import check_search
from twotower.models.baselines.context_counts import Context
from twotower.models.baselines.popularity_ranker import (
    MAX_CACHED_CONTEXTS,
    PopularityRanker,
    groups_of,
)
from twotower.models.item_neighbours import ItemNeighbours
from twotower.serving.bundle.candidate_blend import (
    NEIGHBOURS,
    POPULARITY,
    TOWERS,
    CandidateBlend,
)
from twotower.serving.bundle.queries import Floats, Queries

Mask = NDArray[np.bool_]

SCORES_PER_BLOCK = 1 << 23
"""Scores of each source in memory at once, 32 MB."""


class Retrieved(NamedTuple):
    """Candidates of Q queries.

    Attributes:
        item_nums: (Q, K), `NO_ITEM` where there is none.
        scores: (Q, K) the weighted sums, -inf where there is no item.
        towers: (Q, K) the inner products of the towers' vectors, the same.
    """

    item_nums: NDArray[np.int64]
    scores: Floats
    towers: Floats

    def padded(self, number: int) -> Retrieved:
        """The same with `number` candidates, at least K."""
        wider, width = nothing(len(self.item_nums), number), self.item_nums.shape[1]
        wider.item_nums[:, :width] = self.item_nums
        wider.scores[:, :width], wider.towers[:, :width] = self.scores, self.towers
        return wider


def nothing(queries: int, number: int) -> Retrieved:
    """Places without an item."""
    scores = np.full((queries, number), -np.inf, dtype=np.float32)
    return Retrieved(np.full(scores.shape, NO_ITEM, dtype=np.int64), scores, scores.copy())


def retrieved(
    item_nums: NDArray[np.int64], best: Tensor, towers: Tensor, places: Tensor
) -> Retrieved:
    """The best (Q, K) scores of items (N,) at their places; -inf is no item."""
    found = Retrieved(item_nums[places.numpy()], best.numpy(), towers.numpy())
    if found.scores[:, -1].min() == -np.inf:
        missing = np.isneginf(found.scores)
        found.item_nums[missing], found.towers[missing] = NO_ITEM, -np.inf
    return found


class WeightedSum(NamedTuple):
    """The weighted sum for queries of one kind in one context.

    Attributes:
        constant: (N,) what is the same for all of these queries.
        towers: (N,) the weight of the towers for each item.
        of_sources: the weight of each source of `AllItems`.
        activity: the weight of the activity of the user for new items.
    """

    constant: Tensor
    towers: Tensor
    of_sources: tuple[float, ...]
    activity: float


class NeighbourColumns:
    """Neighbours of what a user took, and where their scores belong."""

    def __init__(self, neighbours: ItemNeighbours, nums: NDArray[np.int64], asked: Mask) -> None:
        """Find the items that they have scores of.

        Args:
            neighbours: give the scores.
            nums: (N,) ascending, the items of the index.
            asked: (N,) the items that they are asked of.
        """
        self.neighbours = neighbours
        places = nums - neighbours.first
        there = asked & (places >= 0) & (places < neighbours.weights.shape[1])
        self._place = np.where(there, places, -1)
        columns = np.flatnonzero(there)
        self._columns, self._places = as_slice(columns), as_slice(places[columns])

    def add(
        self, mixed: Tensor, scores: Tensor, weight: float, kept: NDArray[np.int64] | None
    ) -> None:
        """Add the weighted scores, in place.

        Args:
            mixed: (B, kept items).
            scores: (B, S) of `ItemNeighbours.dense`.
            weight: of this source.
            kept: places among the N items; None for all.
        """
        columns, places = self._columns, self._places
        if kept is not None:
            found = self._place[kept]
            columns = as_slice(np.flatnonzero(found >= 0))
            places = as_slice(found[columns])
        if isinstance(columns, slice):
            mixed[:, columns].add_(scores[:, places], alpha=weight)
        else:
            mixed[:, columns] += weight * scores[:, places]


class AllItems:
    """Scores every item of an exact index."""

    def __init__(
        self,
        blend: CandidateBlend,
        index: VectorIndex,
        popularity: PopularityRanker,
        servable: Mask,
        content: Sequence[ItemNeighbours],
    ) -> None:
        """Bring the sources into the order of the index.

        Args:
            blend: the sources beside the towers, and all weights.
            index: over the item vectors.
            popularity: ranks the same items.
            servable: (R,) the items that may be answered.
            content: what leads from trained items to new ones.
        """
        self._blend = blend
        self._popularity = popularity
        shown = servable[index.item_nums]
        self._nums = index.item_nums[shown]
        vectors = index.vectors()
        self._vectors = torch.from_numpy(vectors if shown.all() else vectors[shown])
        self._is_trained = popularity.item_counts[self._nums] > 0
        self._new = as_slice(np.flatnonzero(~self._is_trained))
        linear = blend.neighbours if blend.reads_neighbours else None
        self._sources = [
            *([] if linear is None else [NeighbourColumns(linear, self._nums, self._is_trained)]),
            *(NeighbourColumns(layer, self._nums, ~self._is_trained) for layer in content),
        ]
        self._num_linear = 0 if linear is None else 1
        self._terms: dict[tuple[Context, int], WeightedSum] = {}

    def best(
        self,
        queries: Queries,
        vectors: Floats,
        kinds: NDArray[np.int64],
        number: int,
        excluded: Ragged | None,
        allowed: Mask | None,
    ) -> Retrieved:
        """The `number` best items of each query, best first, equal scores by item num.

        Args:
            queries: Q of them.
            vectors: (Q, D) of the query tower.
            kinds: (Q,) the place of each in `CandidateBlend.by_kind`.
            number: at least 1.
            excluded: Q lists of item nums to leave out.
            allowed: (R,) which items may be answered at all; None for all.
        """
        check_search(vectors, number, width=self._vectors.shape[1])
        kept = None if allowed is None else np.flatnonzero(allowed[self._nums])
        item_nums = self._nums if kept is None else self._nums[kept]
        items = self._vectors if kept is None else self._vectors[torch.from_numpy(kept)]
        width = min(number, len(item_nums))
        if not width or not len(vectors):
            return nothing(len(vectors), number)
        terms, group = self._groups(queries, kinds)
        new = self._new if kept is None else as_slice(np.flatnonzero(~self._is_trained[kept]))
        raised = self._raised(queries, terms, group)
        asked = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
        block = max(MIN_ROWS, min(len(asked), SCORES_PER_BLOCK // len(self._nums)))
        buffer = torch.empty(block, len(item_nums))
        found = []
        for start in range(0, len(asked), block):
            rows = slice(start, min(start + block, len(asked)))
            towers = multiply(asked[rows], items, buffer)
            user_items = part_of(queries.user_items, rows)
            mixed = self._mixed(towers, kept, user_items, terms, group[rows])
            if raised is not None:
                mixed[:, new] += raised[rows, None]
            unwanted = part_of(excluded, rows)
            if unwanted is not None:
                hide(mixed, unwanted, item_nums)
            best, places = top_k(mixed, width)
            found.append(retrieved(item_nums, best, towers.gather(1, places), places))
        answer = found[0]
        if len(found) > 1:
            answer = Retrieved(*map(np.concatenate, zip(*found, strict=True)))
        return answer if width == number else answer.padded(number)

    def _raised(
        self, queries: Queries, terms: Sequence[WeightedSum], group: NDArray[np.int64]
    ) -> Tensor | None:
        """(Q,) what the scores of new items are raised by for each query; None for nothing."""
        weights = np.array([one.activity for one in terms], dtype=np.float32)
        if self._is_trained.all() or not weights.any():
            return None
        return torch.from_numpy(weights[group] * queries.activity)

    def _mixed(
        self,
        towers: Tensor,
        kept: NDArray[np.int64] | None,
        user_items: Ragged | None,
        terms: Sequence[WeightedSum],
        group: NDArray[np.int64],
    ) -> Tensor:
        """(B, kept items) the weighted sums.

        Args:
            towers: (B, kept items) what the towers say.
            kept: places among the N items; None for all.
            user_items: B lists, what each user took; None for none.
            terms: the sum for each group of queries.
            group: (B,) the place in `terms`.
        """
        said = [
            None
            if user_items is None or not any(one.of_sources[place] for one in terms)
            else source.neighbours.dense(user_items)
            for place, source in enumerate(self._sources)
        ]
        if len(terms) == 1:
            return self._sum(towers, kept, said, terms[0])
        mixed = torch.empty_like(towers)
        for place in distinct_values(group):
            rows = torch.from_numpy(np.flatnonzero(group == place))
            near = [None if one is None else one[rows] for one in said]
            mixed[rows] = self._sum(towers[rows], kept, near, terms[place])
        return mixed

    def _sum(
        self,
        towers: Tensor,
        kept: NDArray[np.int64] | None,
        said: Sequence[Tensor | None],
        terms: WeightedSum,
    ) -> Tensor:
        """The same for queries of one group."""
        constant, weights = terms.constant, terms.towers
        if kept is not None:
            constant, weights = constant[kept], weights[kept]
        mixed = torch.addcmul(constant, towers, weights)
        for source, scores, weight in zip(self._sources, said, terms.of_sources, strict=True):
            if scores is not None and weight:
                source.add(mixed, scores, weight, kept)
        return mixed

    def _groups(
        self, queries: Queries, kinds: NDArray[np.int64]
    ) -> tuple[list[WeightedSum], NDArray[np.int64]]:
        """The sums that the queries have, and the place of each query (Q,) among them."""
        if len(self._terms) > MAX_CACHED_CONTEXTS * len(self._blend.by_kind):
            self._terms = {}
        counts, context = self._popularity.context_counts, queries.context
        found: list[WeightedSum] = []
        group = np.zeros(len(kinds), dtype=np.int64)
        for known, rows in groups_of(counts, context, len(kinds)):
            of_rows = kinds[rows]
            for kind in set(of_rows.tolist()):
                if found or (of_rows != kind).any():
                    group[rows[of_rows == kind]] = len(found)
                found.append(self._terms_of(known, kind))
        return found, group

    def _terms_of(self, context: Context, kind: int) -> WeightedSum:
        kept, key = self._terms, (context, kind)
        if key in kept:
            return kept[key]
        weighing, trained = self._blend.by_kind[kind], self._is_trained
        counts = self._popularity.values_of(context)[self._nums]
        popular = weighing.blend[POPULARITY] * self._blend.said_by_popularity(counts)
        constant = np.where(trained, popular, np.float32(weighing.new_level))
        weights = np.where(trained, weighing.blend[TOWERS], weighing.new_slope)
        linear = [weighing.blend[NEIGHBOURS]] * self._num_linear
        content = [weighing.new_content] * (len(self._sources) - self._num_linear)
        kept[key] = made = WeightedSum(
            torch.from_numpy(constant.astype(np.float32)),
            torch.from_numpy(weights.astype(np.float32)),
            (*linear, *content),
            weighing.new_activity,
        )
        return made


def part_of(lists: Ragged | None, rows: slice) -> Ragged | None:
    """Some of the lists, all that are next to each other."""
    if lists is None or (rows.start == 0 and rows.stop >= len(lists)):
        return lists
    return lists.take(np.arange(rows.start, rows.stop))


def as_slice(places: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """The same places (T,), ascending, as a slice where they follow each other: to be read without
    a copy."""
    if len(places) and places[-1] - places[0] == len(places) - 1:
        return slice(int(places[0]), int(places[-1]) + 1)
    return places
