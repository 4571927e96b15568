"""Candidates of the towers, of item neighbours and of popularity, in the order of a weighted sum of
what the three say.

Shapes: Q queries, K candidates, R item nums, D embedding_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.mask_cache import MAX_BYTES, MaskCache, nbytes
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.entities import tensor_of
from twotower.index import VectorIndex
from twotower.models.baselines.popularity_ranker import PopularityRanker
from twotower.models.item_neighbours import ItemNeighbours, NeighbourScores
from twotower.serving.bundle.all_items import AllItems, Retrieved
from twotower.serving.bundle.candidate_blend import (
    NEIGHBOURS,
    POPULARITY,
    TOWERS,
    CandidateBlend,
)
from twotower.serving.bundle.queries import Floats, Queries

Mask = NDArray[np.bool_]

CANDIDATES = 100
"""Candidates of each source, if no more are asked for."""
NOTHING = np.float32(-np.inf)
"""The score where there is no item."""
VECTORS_PER_BLOCK = 1 << 17
"""Item vectors read at a time."""


class Near(NamedTuple):
    """What neighbours of the items of Q users say.

    Attributes:
        trained: item neighbours of trained items; None where they weigh nothing.
        new: content neighbours of new items, of different ones each.
    """

    trained: NeighbourScores | None
    new: Sequence[NeighbourScores]

    @property
    def all(self) -> list[NeighbourScores]:
        """Both."""
        return [*([] if self.trained is None else [self.trained]), *self.new]


class BlendedRetrieval:
    """A blend over the items of an index."""

    def __init__(
        self,
        blend: CandidateBlend,
        index: VectorIndex,
        popularity: PopularityRanker,
        withheld: NDArray[np.int64] | None = None,
        content: Sequence[ItemNeighbours] = (),
    ) -> None:
        """Put the parts together.

        Args:
            blend: the sources beside the towers, and all weights.
            index: over the item vectors; only its items are answered.
            popularity: ranks the same items by `blend.popularity`.
            withheld: item nums that are not answered though the index has them.
            content: what leads from trained items to new ones; each new item is in one of them.
        """
        self.blend = blend
        self.index = index
        self.popularity = popularity
        self._withheld = np.zeros(0, dtype=np.int64) if withheld is None else withheld
        self._filtered: MaskCache[Mask] = MaskCache(MAX_BYTES, nbytes)
        self._content = content if blend.reads_content else ()

    def best(
        self,
        queries: Queries,
        vectors: Floats,
        number: int,
        excluded: Ragged | None = None,
        allowed: Mask | None = None,
    ) -> Retrieved:
        """The `number` best items of each query, best first; arguments as in `candidates`.

        An exact index scores all its items anyway, so the blend does, too; of another one, the
        candidates of all sources are scored."""
        kinds = self._kinds(queries)
        if self.index.kind == "exact":
            return self._all_items.best(queries, vectors, kinds, number, excluded, allowed)
        nums, near = self.candidates(queries, vectors, max(number, CANDIDATES), excluded, allowed)
        scores, towers = self._scores(queries, vectors, nums, near)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :number]
        found = Retrieved(
            np.take_along_axis(nums, order, 1),
            np.take_along_axis(scores, order, 1),
            np.take_along_axis(towers, order, 1),
        )
        return found if order.shape[1] == number else found.padded(number)

    def score(self, queries: Queries, vectors: Floats, item_nums: NDArray[np.int64]) -> Retrieved:
        """Items (Q, K) of the index with their scores, in this order."""
        near = self._near(queries)
        return Retrieved(item_nums, *self._scores(queries, vectors, item_nums, near))

    def candidates(
        self,
        queries: Queries,
        vectors: Floats,
        number: int,
        excluded: Ragged | None = None,
        allowed: Mask | None = None,
        *,
        near: Near | None = None,
    ) -> tuple[NDArray[np.int64], Near]:
        """(Q, K) the `number` best items of every source that weighs anything, each once; and what
        neighbours of the user's items say.

        Args:
            queries: Q of them.
            vectors: (Q, D) of the query tower.
            number: at least 1.
            excluded: Q lists of item nums to leave out.
            allowed: (R,) which items may be answered at all; None for all.
            near: what neighbours say, where it is known already.
        """
        found = self.index.search(vectors, number, excluded=excluded, allowed=allowed)
        lists, near = [found.item_nums], self._near(queries) if near is None else near
        servable = self._servable if allowed is None else self._kept(allowed)
        lists += [scores.best(number, servable, excluded) for scores in near.all]
        popular = np.array([one.blend[POPULARITY] > 0 for one in self.blend.by_kind])
        rows = np.flatnonzero(popular[self._kinds(queries)])
        if len(rows):
            lists.append(self._popular(queries, rows, number, servable, excluded))
        if len(lists) == 1:
            return found.item_nums, near
        return distinct(np.concatenate(lists, axis=1)), near

    def _popular(
        self,
        queries: Queries,
        rows: NDArray[np.int64],
        number: int,
        servable: Mask,
        excluded: Ragged | None,
    ) -> NDArray[np.int64]:
        """(Q, number) the most popular items for some of the queries, `NO_ITEM` for the others."""
        nums = np.full((queries.number, number), NO_ITEM, dtype=np.int64)
        if excluded is None:
            excluded = Ragged.empty(queries.number)
        # The last place is that of -1, an item outside the catalogue.
        size = max(len(servable), 1 + int(excluded.values.max(initial=0))) + 1
        hidden = np.zeros(size, dtype=np.bool_)
        for order, same in self.popularity.orders(queries.context, queries.number, servable):
            for row in rows[np.isin(rows, same)] if len(same) < queries.number else rows:
                unwanted = excluded[row]
                first = order[: number + len(unwanted)]
                hidden[unwanted] = True
                first = first[~hidden[first]][:number]
                hidden[unwanted] = False
                nums[row, : len(first)] = first
        return nums

    def said(
        self,
        queries: Queries,
        item_nums: NDArray[np.int64],
        towers: Floats,
        near: Near,
    ) -> dict[str, Floats]:
        """What each source says of trained items (Q, K).

        Args:
            queries: Q of them.
            item_nums: (Q, K).
            towers: (Q, K) what the towers say.
            near: what neighbours say; see `candidates`.
        """
        said = {TOWERS: towers}
        if near.trained is not None:
            said[NEIGHBOURS] = near.trained.at(item_nums)
        counts = self.popularity.values_at(queries.context, np.maximum(item_nums, 0))
        said[POPULARITY] = self.blend.said_by_popularity(counts)
        return said

    def _near(self, queries: Queries) -> Near:
        items, blend = queries.user_items, self.blend
        if items is None:
            return Near(None, [])
        trained = None
        if blend.neighbours is not None and blend.reads_neighbours:
            trained = blend.neighbours.scores(items)
        return Near(trained, [content.scores(items) for content in self._content])

    def _scores(
        self,
        queries: Queries,
        vectors: Floats,
        nums: NDArray[np.int64],
        near: Near,
    ) -> tuple[Floats, Floats]:
        """(Q, K) the weighted sums and the inner products; -inf where there is no item."""
        towers = products(vectors, self.index, nums)
        said = self.said(queries, nums, towers, near)
        trained = self.popularity.item_counts[np.maximum(nums, 0)] > 0
        content = np.zeros(nums.shape, dtype=np.float32)
        for one in near.new:
            content += one.at(nums)
        scores = np.empty(nums.shape, dtype=np.float32)
        kinds = self._kinds(queries)
        activity = np.zeros(queries.number, dtype=np.float32)
        if any(one.new_activity for one in self.blend.by_kind) and not trained.all():
            activity = queries.activity
        for kind, weighing in enumerate(self.blend.by_kind):
            rows = np.flatnonzero(kinds == kind)
            if len(rows):
                every = slice(None) if len(rows) == len(kinds) else rows
                mixed = weighing.blend.mix({name: values[every] for name, values in said.items()})
                of_new = weighing.score_of_new(towers[every], content[every], activity[every])
                scores[every] = np.where(trained[every], mixed, of_new)
        there = nums != NO_ITEM
        return np.where(there, scores, NOTHING), np.where(there, towers, NOTHING)

    def _kinds(self, queries: Queries) -> NDArray[np.int64]:
        """(Q,) the place in `by_kind` for each query: users with items whose id the towers know,
        if they read any; other users with items; users without; of the first, those with newer
        items than the towers know."""
        if queries.user_items is None:
            return np.full(queries.number, 2)
        kind: int | NDArray[np.int64] = 0
        if ID_FEATURE in queries.users:
            nums = tensor_of(queries.users, ID_FEATURE).numpy()
            known = nums >= self.popularity.users.first_known
            newer = 0 if queries.has_newer is None else np.where(queries.has_newer, 3, 0)
            kind = np.where(known, newer, 1)
        return np.where(queries.user_items.offsets[1:] > queries.user_items.offsets[:-1], kind, 2)

    @cached_property
    def _all_items(self) -> AllItems:
        blend, popularity = self.blend, self.popularity
        return AllItems(blend, self.index, popularity, self._servable, self._content)

    @cached_property
    def _servable(self) -> Mask:
        """(R,) the items of the index."""
        servable = np.zeros(len(self.popularity.item_counts), dtype=np.bool_)
        servable[self.index.item_nums] = True
        servable[self._withheld] = False
        servable.flags.writeable = False
        return servable

    def _kept(self, allowed: Mask) -> Mask:
        """(R,) the items of the index that a filter keeps."""

        def make() -> Mask:
            kept = self._servable & allowed
            kept.flags.writeable = False
            return kept

        return self._filtered.get(allowed, make)


def products(vectors: Floats, index: VectorIndex, nums: NDArray[np.int64]) -> Floats:
    """(Q, K) the inner products of query vectors (Q, D) and the vectors of items (Q, K); 0 where an
    item has none."""
    found = np.empty(nums.shape, dtype=np.float32)
    block = max(1, VECTORS_PER_BLOCK // max(1, nums.shape[1]))
    for start in range(0, len(nums), block):
        rows = slice(start, start + block)
        items = index.vectors_of(nums[rows].ravel()).reshape(*nums[rows].shape, vectors.shape[1])
        # Not by BLAS, whose last digits depend on how many candidates there are.
        found[rows] = np.einsum("qkd,qd->qk", items, vectors[rows])
    return found


def distinct(nums: NDArray[np.int64]) -> NDArray[np.int64]:
    """(Q, at most K) the different items of each row of (Q, K), ascending, then `NO_ITEM`."""
    last = np.iinfo(np.int64).max
    ordered = np.sort(np.where(nums == NO_ITEM, last, nums), axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = last
    ordered.sort(axis=1)
    width = int((ordered != last).sum(axis=1).max(initial=0))
    ordered = ordered[:, :width]
    return np.where(ordered == last, NO_ITEM, ordered)
