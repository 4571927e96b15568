"""A batch of mixed requests to answers, all of one model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import FEATURES, HISTORY, KNOWN, NO_ITEM, PATHS, POPULAR
from twotower.data.arrays.top_k import places_of
from twotower.errors import TwoTowerError
from twotower.serving.answer.fallback import Staged
from twotower.serving.answer.reasons import feature_reason, history_reasons
from twotower.serving.live.model import LiveModel, Mask
from twotower.serving.live.recent_events import RecentEvents
from twotower.serving.live.requests import Answer, Answered, Ask
from twotower.serving.live.resolve_user import Person, person_of, queries_of

LOOKUP, DESCRIBE = "lookup", "describe"
"""Stages around those of the models: who asks; reasons and columns."""


class Known(NamedTuple):
    """A request whose user was looked up.

    Attributes:
        place: in the batch.
        ask: the request.
        person: who asks.
        allowed: (num_items,) what the filter keeps, or None.
    """

    place: int
    ask: Ask
    person: Person
    allowed: Mask | None


def answer_batch(
    asks: Sequence[Ask], model: LiveModel, recent: RecentEvents, variants: Sequence[str | None]
) -> list[Answer | TwoTowerError]:
    """The answer to each request, or why it cannot be answered; none of them spoils another's.

    Args:
        asks: Q requests.
        model: answers all of them.
        recent: what users did since the bundle was made.
        variants: (Q,) arms of the experiment, for the answers.
    """
    start = time.perf_counter()
    outcomes: dict[int, Answer | TwoTowerError] = {}
    known: list[Known] = []
    for place, ask in enumerate(asks):
        try:
            person = person_of(ask, model, recent)
            allowed = None if ask.filter is None else model.mask(ask.filter)
            known.append(Known(place, ask, person, allowed))
        except TwoTowerError as error:
            outcomes[place] = error
    spent = time.perf_counter() - start
    for group in alike(known):
        staged = run(group, model)
        staged.seconds[LOOKUP] = spent
        answers = described(group, staged, model, variants)
        outcomes.update(zip((one.place for one in group), answers, strict=True))
    return [outcomes[place] for place in range(len(asks))]


def alike(known: Sequence[Known]) -> list[list[Known]]:
    """Requests that one search can answer."""
    groups: dict[object, list[Known]] = {}
    for one in known:
        key = (one.ask.k, id(one.allowed), one.ask.diversity)
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def run(group: Sequence[Known], model: LiveModel) -> Staged:
    """Run the fallback chain for requests that are alike."""
    people = [one.person for one in group]
    return model.chain.run(
        np.array([person.path for person in people], dtype=np.int8),
        lambda rows: queries_of([people[row] for row in rows], model),
        min(group[0].ask.k, model.catalogue.num_items) or 1,
        unwanted=unwanted_of(group, model),
        allowed=group[0].allowed,
        diversity=group[0].ask.diversity,
    )


def unwanted_of(group: Sequence[Known], model: LiveModel) -> Ragged | None:
    """What is not to be answered: items seen, and those that the request excludes."""
    lists: list[NDArray[np.int64]] = []
    for one in group:
        nums = one.person.taken.items if one.ask.mask_seen else np.zeros(0, dtype=np.int64)
        if one.ask.exclude:
            more = [num for num in model.catalogue.nums(one.ask.exclude) if num >= 0]
            nums = np.concatenate([nums, np.array(more, dtype=np.int64)])
        lists.append(np.unique(nums) if len(nums) > 1 else nums)
    offsets = np.zeros(len(lists) + 1, dtype=np.int64)
    np.cumsum([len(nums) for nums in lists], out=offsets[1:])
    if not offsets[-1]:
        return None
    return Ragged(offsets, np.concatenate(lists).astype(np.int32))


def described(
    group: Sequence[Known], staged: Staged, model: LiveModel, variants: Sequence[str | None]
) -> list[Answer]:
    """Nums to answers with ids, reasons and columns."""
    start = time.perf_counter()
    answered = [row[row != NO_ITEM] for row in staged.ranked.item_nums]
    rows = iter(model.catalogue.rows([int(num) for row in answered for num in row]))
    answers = []
    for place, (one, nums) in enumerate(zip(group, answered, strict=True)):
        path = int(staged.ranked.path[place])
        reasons = reasons_of(one.person, path, nums, model) if one.ask.reasons else [""] * len(nums)
        stages = {} if path == POPULAR else staged.stage_scores
        by_stage = {stage: scores[place].tolist() for stage, scores in stages.items()}
        scores = staged.ranked.scores[place].tolist()
        items = []
        for rank in range(len(nums)):
            item_id, columns = next(rows)
            of_stages = {stage: values[rank] for stage, values in by_stage.items()}
            items.append(Answered(item_id, scores[rank], of_stages, reasons[rank], columns))
        answers.append(
            Answer(
                one.ask.user_id,
                PATHS[path],
                model.recommender.served.is_live,
                items,
                model.version,
                variants[one.place],
                staged.seconds,
            )
        )
    staged.seconds[DESCRIBE] = time.perf_counter() - start
    return answers


def reasons_of(
    person: Person,
    path: int,
    nums: NDArray[np.int64],
    model: LiveModel,
) -> list[str]:
    """Why these items, in words."""
    if path == POPULAR:
        return model.popular.reasons(nums, person.context)
    index = model.chain.stages.index
    taken = person.taken.items
    # Nothing is near what has no vector.
    near = taken[places_of(index.item_nums, taken) >= 0]
    if path in (KNOWN, HISTORY) and len(near):
        taste = model.recommender.served.num_taste
        return history_reasons(
            index, lambda some: model.catalogue.names(some.tolist()), nums, near, taste
        )
    assert path in (KNOWN, HISTORY, FEATURES)
    return [feature_reason(model.recommender.served.schema)] * len(nums)
