"""Requests to answers: the best items, given items with scores, similar items."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM, POPULAR
from twotower.data.arrays.top_k import places_of
from twotower.data.dataset.entities import OUTSIDE
from twotower.errors import NotFoundError, explain
from twotower.serving.answer.overlaid_model import OverlaidModel
from twotower.serving.answer.reasons import SIMILAR_ITEM, Reason
from twotower.serving.answer.recommendation import Recommendation, RecommendedItem
from twotower.serving.answer.resolve_request import ResolvedRequest, paths_of, queries_of
from twotower.serving.answer.stages import StageAnswer
from twotower.serving.answer.writer import write_answers, write_items
from twotower.serving.bundle.queries import RETRIEVE
from twotower.serving.store.protocol import Id

LOOKUP, DESCRIBE = "lookup", "describe"
"""Stages around those of the model: who asks; reasons and columns."""


def answer_all(requests: Sequence[ResolvedRequest], model: OverlaidModel) -> list[Recommendation]:
    """The best items for each of Q requests, in their order; alike ones share a search."""
    groups: dict[object, list[int]] = {}
    for place, one in enumerate(requests):
        options = one.request.options
        groups.setdefault((options.k, id(one.allowed), options.diversity), []).append(place)
    found: dict[int, Recommendation] = {}
    for places in groups.values():
        group = [requests[place] for place in places]
        paths = paths_of(group, model)
        answer = search(group, paths, model)
        start = time.perf_counter()
        found.update(zip(places, write_answers(group, paths, answer, model), strict=True))
        answer.seconds[DESCRIBE] = time.perf_counter() - start
    return [found[place] for place in range(len(requests))]


def search(
    group: Sequence[ResolvedRequest], paths: NDArray[np.int8], model: OverlaidModel
) -> StageAnswer:
    """Run the fallback chain for requests (Q,) with the same k, filter and diversity."""
    options = group[0].request.options
    offsets = np.zeros(len(group) + 1, dtype=np.int64)
    np.cumsum([len(one.excluded) for one in group], out=offsets[1:])
    excluded = np.concatenate([one.excluded for one in group]).astype(np.int32)
    return model.chain.run(
        paths,
        lambda rows: queries_of([group[row] for row in rows], model),
        min(options.k, model.catalogue.num_items) or 1,
        unwanted=Ragged(offsets, excluded) if len(excluded) else None,
        allowed=group[0].allowed,
        diversity=options.diversity,
    )


def score_items(one: ResolvedRequest, model: OverlaidModel) -> Recommendation:
    """The items that a request names, best first; hidden ones are not scored.

    On the path `popular` all items of the catalogue have a score, on the others those that have a
    vector.
    """
    start = time.perf_counter()
    paths, stages = paths_of([one], model), model.stages
    # 3 and "3" are one item.
    wanted = list({str(item): item for item in one.request.items or ()}.values())
    nums = np.array(model.catalogue.nums(wanted), dtype=np.int64)
    there = (nums != OUTSIDE) & ~np.isin(nums, list(model.overlay.withheld))
    if paths[0] != POPULAR:
        there &= places_of(stages.index.item_nums, nums) >= 0
    missing = tuple(item for item, known in zip(wanted, there, strict=True) if not known)
    nums, by_stage = nums[None, there], {}
    if paths[0] == POPULAR:
        scores = model.popularity.values(one.context)[nums].astype(np.float32)
    else:
        scored = stages.score(queries_of([one], model), nums)
        scores, by_stage = scored.scores, scored.stage_scores
    answer = StageAnswer(nums, scores, by_stage, {})
    answer = answer.take(np.argsort(-scores, axis=1, kind="stable"))
    answer.seconds[RETRIEVE] = time.perf_counter() - start
    written = write_answers([one], paths, answer, model)[0]
    answer.seconds[DESCRIBE] = time.perf_counter() - start - answer.seconds[RETRIEVE]
    return replace(written, unknown=missing)


def similar_items(item_id: Id, k: int, model: OverlaidModel) -> list[RecommendedItem]:
    """The k items whose vectors are nearest to an item's, itself left out.

    Raises:
        NotFoundError: the item is unknown, was removed, or has no vector.
    """
    num = model.catalogue.num(item_id)
    if num == OUTSIDE:
        raise no_such_item(item_id)
    index = model.stages.index
    if places_of(index.item_nums, np.array([num]))[0] < 0:
        raise NotFoundError(
            explain(
                "the item has no vector: training never saw it, and no feature of it is known",
                column="item_id",
                value=item_id,
                fix="give it values of the item features",
            )
        )
    query = index.vectors_of(np.array([num]))
    query[:, model.served.similarity_dim :] = 0
    own = Ragged(np.array([0, 1]), np.array([num], dtype=np.int32))
    found = index.search(query, min(k, model.catalogue.num_items), excluded=own)
    nums = found.item_nums[0][found.item_nums[0] != NO_ITEM]
    reason = Reason(SIMILAR_ITEM, {"item_id": item_id})
    scores = found.scores[0][: len(nums)]
    return write_items(nums, scores, {RETRIEVE: scores}, [reason] * len(nums), model)


def no_such_item(item_id: Id) -> NotFoundError:
    """For an id that is not in the catalogue."""
    return NotFoundError(
        explain(
            "no such item", column="item_id", value=item_id, fix="`GET /v1/items` lists the items"
        )
    )
