"""The blend over all items of an exact index: the same order as that of the candidates of all
sources, where these are all items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from tests.contracts.model_contract import FIRST, HELD_OUT, TRAIN
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.entities import Features
from twotower.data.features.vocabulary import Vocabulary
from twotower.errors import DataError
from twotower.index import VectorIndex
from twotower.index.exact import ExactIndex
from twotower.models import item_neighbours
from twotower.models.baselines import EASE
from twotower.models.baselines.context_counts import ContextCounts
from twotower.models.baselines.popularity_ranker import PopularityRanker
from twotower.models.blend import Blend
from twotower.models.content_neighbours import ContentLinks
from twotower.models.item_neighbours import ItemNeighbours
from twotower.serving.bundle import all_items
from twotower.serving.bundle.all_items import Retrieved
from twotower.serving.bundle.blended_retrieval import BlendedRetrieval
from twotower.serving.bundle.candidate_blend import CandidateBlend, Weighing
from twotower.serving.bundle.queries import Queries
from twotower.serving.overlay.overlaid_index import OverlaidIndex

ITEMS, USERS = TRAIN.items, TRAIN.users
NUMS = np.arange(FIRST, len(ITEMS))
"""All items: trained ones, and the last few new."""
WIDTH = 8
REGIONS = Vocabulary(pl.Series("region", ["north", "south"]))
RNG = np.random.default_rng(3)
VECTORS = RNG.normal(size=(len(NUMS), WIDTH)).astype(np.float32)


class Candidates(ExactIndex):
    """Says that it is approximate, so that the candidates of all sources are collected."""

    kind = "hnsw"


def weighing(towers: float, neighbours: float, popularity: float, content: float) -> Weighing:
    weights = {"towers": towers, "neighbours": neighbours, "popularity": popularity}
    return Weighing(Blend(weights), 0.3, 0.7, content)


def blend() -> CandidateBlend:
    """Other weights for each kind of users, and content neighbours of the new items."""
    new = np.arange(ITEMS.end_warm, len(ITEMS))
    near = RNG.integers(FIRST, ITEMS.end_warm, (len(new), 5)).astype(np.int32)
    links = ContentLinks(new, near, RNG.random(near.shape).astype(np.float32))
    kinds = weighing(0.5, 1.5, 0.2, 0.4), weighing(0.1, 2.0, 0.0, 0.8), weighing(0.9, 0.0, 1.1, 0.0)
    counts = RNG.random(len(ITEMS)) * 9
    counts[ITEMS.end_warm :] = 0
    return CandidateBlend(
        *kinds, counts, 1.0, ItemNeighbours.of(EASE.fit(TRAIN), 9), {}, links, 0.5
    )


BLEND = blend()


def retrieval(
    kind: type[ExactIndex], *, withheld: NDArray[np.int64] | None = None, contexts: bool = True
) -> BlendedRetrieval:
    rng = np.random.default_rng(5)
    region = rng.integers(REGIONS.first_known, REGIONS.first_known + 2, len(TRAIN.item_num))
    rows = pl.DataFrame({"value": region, "item_num": TRAIN.item_num.astype(np.int64)})
    counted = rows.group_by("value", "item_num").agg(count=pl.len().cast(pl.Int64))
    frame = counted.with_columns(feature=pl.lit("region")).sort("value", "item_num")
    popularity = PopularityRanker(
        USERS,
        ITEMS,
        TRAIN.item_counts(),
        TRAIN.by_user(),
        ContextCounts(frame, {"region": REGIONS}) if contexts else None,
        weights=BLEND.popularity,
    )
    assert BLEND.content is not None
    content = BLEND.content.weights(len(ITEMS), BLEND.content_unit)
    assert content is not None
    index: VectorIndex = kind(VECTORS, NUMS)
    if withheld is not None:
        none = np.zeros(0, dtype=np.int64)
        index = OverlaidIndex(
            index,
            hidden=none,
            nums=none,
            vectors=VECTORS[:0],
            num_items=len(ITEMS),
            withheld=withheld,
        )
    return BlendedRetrieval(BLEND, index, popularity, withheld, [content])


def asked(number: int = 40) -> tuple[Queries, NDArray[np.float32], Ragged]:
    """Queries of known and unknown users, some without items, with their vectors, and what they do
    not want."""
    rng = np.random.default_rng(4)
    users = rng.integers(1, USERS.end_warm, number)
    items = TRAIN.by_user().take(np.where(rng.random(number) < 0.8, users, -1))
    regions = rng.integers(0, REGIONS.first_known + 2, number)
    context: Features = {"region": torch.from_numpy(regions)}
    newer = rng.random(number) < 0.3
    queries = Queries({ID_FEATURE: torch.from_numpy(users)}, context, None, items, newer)
    vectors = rng.normal(size=(number, WIDTH)).astype(np.float32)
    return queries, vectors, HELD_OUT.take(users)


def assert_same(one: Retrieved, other: Retrieved) -> None:
    np.testing.assert_array_equal(one.item_nums, other.item_nums)
    for name in ("scores", "towers"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("contexts", [True, False])
@pytest.mark.parametrize("hides", [True, False])
@pytest.mark.parametrize("filters", [0, 3, len(ITEMS) // 2, len(ITEMS)])
def test_the_order_is_that_of_all_candidates(contexts: bool, hides: bool, filters: int) -> None:
    queries, vectors, excluded = asked()
    withheld = np.array([FIRST + 3, len(ITEMS) - 1]) if hides else None
    allowed = None
    if filters < len(ITEMS):
        allowed = np.zeros(len(ITEMS), dtype=np.bool_)
        allowed[RNG.choice(len(ITEMS), filters, replace=False)] = True
    found = []
    for kind in (Candidates, ExactIndex):
        one = retrieval(kind, withheld=withheld, contexts=contexts)
        found.append(one.best(queries, vectors, 100, excluded, allowed))
    found[0].item_nums[np.isneginf(found[0].scores)] = NO_ITEM
    assert_same(*found)
    assert (found[1].item_nums != NO_ITEM).any() == (filters > 0)


@pytest.mark.parametrize("table", [0, 10_000])
@pytest.mark.parametrize("entries", [0, 10_000])
def test_a_query_alone_gets_what_it_gets_among_others(
    table: int, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_neighbours, "MAX_DENSE_ITEMS", table)
    monkeypatch.setattr(item_neighbours, "MAX_ENTRIES", entries)
    queries, vectors, excluded = asked()
    one = retrieval(ExactIndex)
    whole = one.best(queries, vectors, 12, excluded)
    monkeypatch.setattr(all_items, "SCORES_PER_BLOCK", 1)
    assert_same(one.best(queries, vectors, 12, excluded), whole)
    for row in range(queries.number):
        rows = np.array([row])
        alone = one.best(queries.take(rows), vectors[rows], 12, excluded.take(rows))
        np.testing.assert_array_equal(alone.item_nums, whole.item_nums[rows])
        np.testing.assert_array_equal(alone.scores, whole.scores[rows])


def test_scores_are_those_of_named_items() -> None:
    queries, vectors, _ = asked()
    one = retrieval(ExactIndex, contexts=False)
    found = one.best(queries, vectors, len(NUMS))
    assert (found.item_nums != NO_ITEM).all()
    assert_same(one.score(queries, vectors, found.item_nums), found)


def test_what_weighs_nothing_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, vectors, _ = asked()
    nobody = queries._replace(user_items=Ragged.empty(queries.number))
    calls: list[int] = []
    dense = ItemNeighbours.dense

    def counted(self: ItemNeighbours, user_items: Ragged) -> torch.Tensor:
        calls.append(len(user_items))
        return dense(self, user_items)

    monkeypatch.setattr(ItemNeighbours, "dense", counted)
    one = retrieval(ExactIndex)
    one.best(nobody, vectors, 5)
    assert calls == []
    one.best(queries, vectors, 5)
    assert calls == [queries.number] * 2, "item neighbours and content"


def test_a_vector_that_is_not_finite_is_refused() -> None:
    queries, vectors, _ = asked()
    vectors[3, 1] = np.nan
    with pytest.raises(DataError, match="the query vectors contain NaN or infinity"):
        retrieval(ExactIndex).best(queries, vectors, 5)


def test_items_removed_since_do_not_come_back() -> None:
    """An index that lacks items: their places do not follow each other."""
    queries, vectors, _ = asked()
    kept = np.flatnonzero(np.arange(len(NUMS)) % 3 != 1)
    found = []
    for kind in (Candidates, ExactIndex):
        one = retrieval(kind, contexts=False)
        less = BlendedRetrieval(
            replace(BLEND), kind(VECTORS[kept], NUMS[kept]), one.popularity, None, one._content
        )
        found.append(less.best(queries, vectors, 100))
    assert_same(*found)
