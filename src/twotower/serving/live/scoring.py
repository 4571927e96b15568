"""Scores of given items, and the items that are near to one."""

from __future__ import annotations

import time

import numpy as np

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM, PATHS, POPULAR
from twotower.data.arrays.top_k import places_of
from twotower.data.dataset.entities import OUTSIDE
from twotower.errors import NotFoundError, explain
from twotower.serving.bundle.queries import RANK, RETRIEVE, Candidates, Floats
from twotower.serving.live.answering import DESCRIBE, LOOKUP, reasons_of
from twotower.serving.live.model import LiveModel
from twotower.serving.live.recent_events import RecentEvents
from twotower.serving.live.requests import Answer, Answered, Ask
from twotower.serving.live.resolve_user import person_of, queries_of
from twotower.serving.store.protocol import Id

NEAR = "near in taste"


def rank_items(ask: Ask, model: LiveModel, recent: RecentEvents, variant: str | None) -> Answer:
    """The items that a request names, best first.

    On the path `popular` all items of the catalogue have a score, on the others those that have a
    vector.

    Raises:
        DataError: a feature that the schema does not know, or a value that is not of its type.
    """
    start = time.perf_counter()
    person = person_of(ask, model, recent)
    wanted = dict.fromkeys(ask.items or ())
    stages = model.chain.stages
    nums = np.array(model.catalogue.nums(list(wanted)), dtype=np.int64)
    there = nums != OUTSIDE
    if person.path != POPULAR:
        there &= places_of(stages.index.item_nums, nums) >= 0
    unknown = tuple(item for item, known in zip(wanted, there, strict=True) if not known)
    seconds = {LOOKUP: time.perf_counter() - start}
    nums, by_stage = nums[there], {}
    if person.path == POPULAR:
        scores = model.popular.counts(person.context)[nums].astype(np.float32)
    else:
        queries = queries_of([person], model)
        vectors = stages.queries.vectors(queries.users, queries.context, queries.history)
        scores = (stages.index.vectors_of(nums) @ vectors[0]).astype(np.float32)
        by_stage = {RETRIEVE: scores}
        if stages.ranker is not None and len(nums):
            found = Candidates(nums[None], scores[None], vectors)
            scores = stages.ranker.score(queries, found)[0]
            by_stage = {**by_stage, RANK: scores}
    order = np.argsort(-scores, kind="stable")
    seconds[RETRIEVE] = time.perf_counter() - start - seconds[LOOKUP]
    reasons = reasons_of(person, person.path, nums[order], model)
    rows = model.catalogue.rows(nums[order].tolist())
    items = [
        Answered(
            item_id,
            float(scores[place]),
            {stage: float(values[place]) for stage, values in by_stage.items()},
            reason,
            columns,
        )
        for place, reason, (item_id, columns) in zip(order, reasons, rows, strict=True)
    ]
    seconds[DESCRIBE] = time.perf_counter() - start - sum(seconds.values())
    live = model.recommender.served.is_live
    path = PATHS[person.path]
    return Answer(ask.user_id, path, live, items, model.version, variant, seconds, unknown)


def similar_items(item_id: Id, k: int, model: LiveModel) -> list[Answered]:
    """The k items whose vectors are nearest to an item's, itself left out.

    Raises:
        NotFoundError: the item is unknown, was removed, or has no vector.
    """
    num = model.catalogue.num(item_id)
    if num == OUTSIDE:
        raise no_such_item(item_id)
    index = model.chain.stages.index
    if places_of(index.item_nums, np.array([num]))[0] < 0:
        raise NotFoundError(
            explain(
                "the item has no vector: training never saw it, and no feature of it is known",
                column="item_id",
                value=item_id,
                fix="put the item with values of the item features",
            )
        )
    taste: Floats = index.vectors_of(np.array([num]))
    taste[:, model.recommender.served.num_taste :] = 0
    own = Ragged(np.array([0, 1]), np.array([num], dtype=np.int32))
    found = index.search(taste, min(k, model.catalogue.num_items), excluded=own)
    there = found.item_nums[0] != NO_ITEM
    scores = found.scores[0][there].tolist()
    rows = model.catalogue.rows(found.item_nums[0][there].tolist())
    return [
        Answered(near_id, score, {RETRIEVE: score}, NEAR, columns)
        for score, (near_id, columns) in zip(scores, rows, strict=True)
    ]


def no_such_item(item_id: Id) -> NotFoundError:
    """For an id that is not in the catalogue."""
    return NotFoundError(
        explain(
            "no such item", column="item_id", value=item_id, fix="`GET /v1/items` lists the items"
        )
    )
