"""How much content neighbours say about new items beside the towers, chosen on held-out items.

Shapes: H held-out items, Q queries, K candidates.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.data.arrays.ranked import NO_ITEM
from twotower.data.dataset.interactions import Interactions
from twotower.index.exact import ExactIndex
from twotower.models.blend import Blend
from twotower.models.content_neighbours import ContentLinks, ContentNeighbours
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.blended_retrieval import CANDIDATES, distinct, products
from twotower.serving.bundle.candidate_blend import TOWERS, Weighing
from twotower.workflow.training.fit_ranker import labelled

CONTENT: Final = "content"
PENALTY: Final = 3.0
"""The penalty on the two weights counts as much as so many queries."""


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
    train: Interactions,
    validation: Interactions,
    links: ContentLinks,
    num_users: int,
) -> NewItemScores | None:
    """The weights of the towers and of content neighbours for new items, a conditional logit on the
    validation rows of items that count as new; None where there is no such row.

    Args:
        recommender: of towers whose tower of new items has not seen these items.
        train: the training part.
        validation: the validation part.
        links: of the items.
        num_users: validation users at most.
    """
    served = recommender.served
    content = links.weights(len(train.items), links.unit)
    rows = validation.take(np.flatnonzero(np.isin(validation.item_num, links.nums)))
    users = np.unique(rows.user_num).astype(np.int64)
    users = users[(users >= 0) & train.users.is_warm(users)][:num_users]
    if content is None or not len(users):
        return None
    with torch.no_grad():
        features = train.items.gather(torch.from_numpy(links.nums))
        vectors = served.towers.cold_vectors(features).cpu().numpy()
    queries = served.queries_of(users, {})
    asked = served.query_encoder.vectors(queries)
    assert queries.user_items is not None
    near, seen = content.scores(queries.user_items), recommender.seen.take(users)
    index = ExactIndex(vectors, links.nums)
    servable = np.zeros(len(train.items), dtype=np.bool_)
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
    labels = labelled(nums, rows.by_user().take(users))
    said = {TOWERS: products(asked, index, nums), CONTENT: near.at(nums)}
    relevant = int((labels.sum(axis=1) > 0).sum())
    there = nums != NO_ITEM
    weights = Blend.fit(said, labels, there, ridge=PENALTY / max(relevant, 1))
    if weights is None:
        return None
    return NewItemScores(weights, {name: float(of[there].mean()) for name, of in said.items()})


def with_content(weighing: Weighing, fitted: NewItemScores | None) -> Weighing:
    """The weights of one kind of users with those of content. Both weighings are conditional
    logits, so their scores have one scale; the mean candidate keeps its level.

    Args:
        weighing: of users who have taken something.
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
