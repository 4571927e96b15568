"""How items that training never saw are scored beside the others: by the towers, by content
neighbours, and on which level, for each kind of users apart. The weights are chosen on items that
the tower of new items was not trained on, as these have rows to find.

Shapes: H held-out items, A new items, Q queries, K candidates.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.config import Config
from twotower.data.arrays.distinct import distinct_values
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.histories import Histories
from twotower.index.exact import ExactIndex
from twotower.models.blend import Blend
from twotower.models.content_neighbours import ContentLinks, ContentNeighbours
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.blended_retrieval import CANDIDATES, distinct, products
from twotower.serving.bundle.candidate_blend import TOWERS, CandidateBlend, Weighing
from twotower.serving.bundle.queries import Queries
from twotower.serving.bundle.served_model import indexable
from twotower.workflow.evaluate import rows_of
from twotower.workflow.training.cold_offset import Ask, Level, LevelSearch, vectors_of_new
from twotower.workflow.training.fit_ranker import labelled
from twotower.workflow.training.validation import (
    FIT_USERS,
    KINDS,
    PENALTY,
    Kind,
    Strangers,
    asked_as,
    cut_short,
    evenly,
)

CONTENT: Final = "content"
MAX_NEW: Final = 20_000
"""Of more new items, so many are ranked beside the others, and may cost that share of the whole."""


def with_new_items(
    blend: CandidateBlend,
    recommender: Recommender,
    train: Interactions,
    validation: Interactions,
    held_out: NDArray[np.int64],
    config: Config,
) -> CandidateBlend:
    """The blend with the scores of new items.

    Args:
        blend: with the weights of trained items, and the line through their scores.
        recommender: of towers that were trained on `train`; its index has no new item.
        train: the training part.
        validation: the validation part.
        held_out: (H,) items that the cold tower was not trained on, at least one.
        config: as trained.
    """
    links = links_of(recommender, train, held_out)
    ask = asking(recommender, validation, config)
    if links is not None:
        usual, unknown, new_users = blend.weighings
        usual = with_content(usual, weigh_content(recommender, validation, links, ask, "known"))
        if reads_ids(recommender):
            said = weigh_content(recommender, validation, links, ask, "unknown")
            unknown = with_content(unknown, said)
        else:
            unknown = usual
        # Content leads from what a user has taken, and new ones have taken nothing.
        blend = blend.weighed([usual, unknown, new_users])
        blend = replace(blend, content=links, content_unit=links.unit)
    new, share = new_items(recommender, held_out)
    if links is not None and new is not held_out:
        blend = replace(blend, content=links_of(recommender, train, new))
    search = LevelSearch.of(
        recommender, blend, train, validation, new, config, share * config.retriever.cold_cost
    )
    return blend.weighed(levelled(blend.weighings, search, ask, reads_ids(recommender)))


def levelled(
    weighings: tuple[Weighing, Weighing, Weighing],
    search: LevelSearch,
    ask: Ask,
    by_id: bool,
) -> tuple[Weighing, ...]:
    """The weights of all kinds of users with their levels of new items. A kind that has no users to
    ask, or for whom nothing is found, is raised as far as another, in proportion to how far its
    scores spread.

    Args:
        weighings: in the order of `KINDS`.
        search: of the level.
        ask: for users of a kind.
        by_id: whether users whose id is known are another kind than others.
    """
    found = [search.level(ask, kind) if by_id or kind != "unknown" else None for kind in KINDS]
    if not by_id:
        found[1] = found[0]
    measured = [place for place, level in enumerate(found) if level is not None]
    done = []
    for place, weighing in enumerate(weighings):
        level = found[place]
        if level is None and measured:
            other = measured[0]
            raised, slope = found[other], weighings[other].new_slope
            assert raised is not None
            ratio = weighing.new_slope / slope if slope > 0 else 1.0
            level = Level(ratio * raised.at_mean, 0.0, 0.0)
        done.append(weighing if level is None else level.of(weighing))
    return tuple(done)


def new_items(
    recommender: Recommender, held_out: NDArray[np.int64]
) -> tuple[NDArray[np.int64], float]:
    """The items that take places from the others, of which there are more the more items are new:
    those of the catalogue that training never saw, or the held-out ones (H,) if they are more.

    Returns:
        (A,) `MAX_NEW` of them at most, and which share of them all these are.
    """
    items = recommender.items
    nums = np.flatnonzero(indexable(items)).astype(np.int64)
    new = nums[~items.is_warm(nums)]
    if len(new) <= len(held_out):
        return held_out, 1.0
    if len(new) <= MAX_NEW:
        return new, 1.0
    return evenly(new, MAX_NEW), MAX_NEW / len(new)


def asking(recommender: Recommender, validation: Interactions, config: Config) -> Ask:
    """How users of the validation part ask, in the context of the first of their rows there.

    Users whom nobody knows have mostly taken less than those that training knows, so some of their
    events are left out. Towers that read no id know everybody alike."""
    served, seed = recommender.served, config.training.seed
    by_id = reads_ids(recommender)
    everyone, first_row = np.unique(validation.user_num, return_index=True)

    def ask(user_num: NDArray[np.int64], kind: Kind, histories: Histories | None) -> Queries:
        context = rows_of(validation, first_row[np.searchsorted(everyone, user_num)]) or {}
        if histories is None and (kind == "unknown" or (kind == "known" and not by_id)):
            histories = cut_short(served.histories, user_num, seed)
        return asked_as(kind, served, user_num, context, histories=histories)

    return ask


def reads_ids(recommender: Recommender) -> bool:
    """Whether the towers read ids of users."""
    return ID_FEATURE in recommender.users.schema.features["user"]


# --- what content neighbours say ----------------------------------------------------------------


class NewItemScores(NamedTuple):
    """How new items are scored.

    Attributes:
        weights: of the towers and of content neighbours.
        means: what each says on average of a candidate.
    """

    weights: Blend
    means: dict[str, float]


def links_of(
    recommender: Recommender, train: Interactions, held_out: NDArray[np.int64]
) -> ContentLinks | None:
    """Those of items (H,) that count as new; None where no feature has terms."""
    counts = train.item_counts().copy()
    counts[held_out] = 0
    finder = ContentNeighbours.of(recommender.served.towers.cold_tower, train.items, counts)
    if finder is None:
        return None
    return finder.links(held_out, train.items.gather(torch.from_numpy(held_out)))


def weigh_content(
    recommender: Recommender,
    validation: Interactions,
    links: ContentLinks,
    ask: Ask,
    kind: Kind,
) -> NewItemScores | None:
    """The weights of the towers and of content neighbours for new items, a conditional logit on the
    validation rows of items that count as new; None where there is no such row.

    Args:
        recommender: of towers whose tower of new items has not seen these items.
        validation: the validation part.
        links: of the items.
        ask: for its users.
        kind: of users.
    """
    served = recommender.served
    content = links.weights(len(served.items), links.unit)
    queries, seen, wanted = asked_for(recommender, validation, links.nums, ask, kind)
    if content is None or not queries.number:
        return None
    vectors = vectors_of_new(recommender, links.nums)
    asked = served.query_encoder.vectors(queries)
    assert queries.user_items is not None
    near = content.scores(queries.user_items)
    index = ExactIndex(vectors, links.nums)
    servable = np.zeros(len(served.items), dtype=np.bool_)
    servable[links.nums] = True
    nums = distinct(
        np.concatenate(
            [
                index.search(asked, CANDIDATES, excluded=seen).item_nums,
                near.best(CANDIDATES, servable, seen),
            ],
            axis=1,
        )
    )
    labels = labelled(nums, wanted)
    said = {TOWERS: products(asked, index, nums), CONTENT: near.at(nums)}
    relevant = int((labels.sum(axis=1) > 0).sum())
    there = nums != NO_ITEM
    weights = Blend.fit(said, labels, there, ridge=PENALTY / max(relevant, 1))
    if weights is None:
        return None
    return NewItemScores(weights, {name: float(of[there].mean()) for name, of in said.items()})


def asked_for(
    recommender: Recommender,
    validation: Interactions,
    held_out: NDArray[np.int64],
    ask: Ask,
    kind: Kind,
) -> tuple[Queries, Ragged, Ragged]:
    """Queries of those who took one of the held-out items (H,), with Q lists of what they had seen
    and Q lists of what they took: of users whom training knows, or if there is none of others."""
    rows = validation.take(np.flatnonzero(np.isin(validation.item_num, held_out)))
    users = distinct_values(rows.user_num).astype(np.int64)
    users = evenly(users[(users >= 0) & recommender.users.is_warm(users)], FIT_USERS)
    if len(users):
        wanted = rows.by_user().take(users)
        return ask(users, kind, None), recommender.seen.take(users), wanted
    user_num, known, later = Strangers.of(validation, recommender.users)
    return ask(user_num, kind, known), known.items, later


def with_content(weighing: Weighing, fitted: NewItemScores | None) -> Weighing:
    """The weights of one kind of users with those of content. Both weighings are conditional
    logits, so their scores have one scale; the mean candidate keeps its level.

    Args:
        weighing: of a kind of users.
        fitted: of `weigh_content`.
    """
    if fitted is None or not fitted.weights[CONTENT]:
        return weighing
    weights, means = fitted
    level = weighing.new_level + weighing.new_slope * means[TOWERS]
    level -= sum(weights[name] * mean for name, mean in means.items())
    return replace(
        weighing, new_level=level, new_slope=weights[TOWERS], new_content=weights[CONTENT]
    )
