"""How items that training never saw are scored beside the others: by the towers, by content
neighbours, and on which level. All of it is chosen on items that the tower of new items was not
trained on, for each kind of users apart.

Shapes: H held-out items, Q queries, K candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from twotower.config import Config
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.interactions import Interactions
from twotower.index.exact import ExactIndex
from twotower.models.blend import Blend
from twotower.models.content_neighbours import ContentLinks, ContentNeighbours
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.blended_retrieval import CANDIDATES, distinct, products
from twotower.serving.bundle.candidate_blend import TOWERS, CandidateBlend, Weighing
from twotower.serving.bundle.queries import Floats, Queries
from twotower.workflow.evaluate import rows_of
from twotower.workflow.training.cold_offset import largest_offset, rows_of_others
from twotower.workflow.training.fit_ranker import labelled
from twotower.workflow.training.validation import KINDS, Kind, asked_as, cut_short

CONTENT: Final = "content"
PENALTY: Final = 3.0
"""The penalty on what is fitted counts as much as so many queries."""
FIT_USERS: Final = 2500
"""Validation users of each kind at most."""

Ask = Callable[[NDArray[np.int64], Kind], Queries]
"""Users (Q,) of the validation part as users of a kind."""


def with_new_items(
    blend: CandidateBlend,
    recommender: Recommender,
    train: Interactions,
    validation: Interactions,
    held_out: NDArray[np.int64],
    config: Config,
) -> CandidateBlend:
    """The blend with the scores of new items, and with the content neighbours of the held-out ones.

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
    kinds = dict(zip(KINDS, blend.weighings, strict=True))
    if links is not None:
        for kind, weighing in kinds.items():
            # Content leads from what a user has taken, and new ones have taken nothing.
            if kind != "new":
                said = weigh_content(recommender, validation, links, ask, kind)
                kinds[kind] = with_content(weighing, said)
        blend = replace(blend, content=links, content_unit=links.unit)
    blend = blend.weighed(kinds.values())
    shared = SharedList.of(recommender, blend, train, validation, held_out, config)
    return blend.weighed(shared.placed(kinds[kind], ask, kind) for kind in KINDS)


def asking(recommender: Recommender, validation: Interactions, config: Config) -> Ask:
    """How the users of the validation part ask, in the context of the first of their rows there.

    Users whom nobody knows have mostly taken less than those that training knows, so some of their
    events are left out. Towers that read no id know everybody alike."""
    served, seed = recommender.served, config.training.seed
    reads_ids = ID_FEATURE in served.users.schema.features["user"]
    everyone, first_row = np.unique(validation.user_num, return_index=True)

    def ask(user_num: NDArray[np.int64], kind: Kind) -> Queries:
        context = rows_of(validation, first_row[np.searchsorted(everyone, user_num)]) or {}
        fewer = kind == "unknown" or (kind == "known" and not reads_ids)
        histories = cut_short(served.histories, user_num, seed) if fewer else None
        return asked_as(kind, served, user_num, context, histories=histories)

    return ask


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
    rows = validation.take(np.flatnonzero(np.isin(validation.item_num, links.nums)))
    users = np.unique(rows.user_num).astype(np.int64)
    users = users[(users >= 0) & served.users.is_warm(users)][:FIT_USERS]
    if content is None or not len(users):
        return None
    vectors = vectors_of_new(recommender, links.nums)
    queries = ask(users, kind)
    asked = served.query_encoder.vectors(queries)
    assert queries.user_items is not None
    near, seen = content.scores(queries.user_items), recommender.seen.take(users)
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
    labels = labelled(nums, rows.by_user().take(users))
    said = {TOWERS: products(asked, index, nums), CONTENT: near.at(nums)}
    relevant = int((labels.sum(axis=1) > 0).sum())
    there = nums != NO_ITEM
    weights = Blend.fit(said, labels, there, ridge=PENALTY / max(relevant, 1))
    if weights is None:
        return None
    return NewItemScores(weights, {name: float(of[there].mean()) for name, of in said.items()})


def vectors_of_new(recommender: Recommender, nums: NDArray[np.int64]) -> Floats:
    """(H, D) the vectors that items (H,) have as new ones."""
    items, towers = recommender.items, recommender.served.towers
    with torch.no_grad():
        vectors: Floats = towers.cold_vectors(items.gather(torch.from_numpy(nums))).cpu().numpy()
    return vectors


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


# --- the level ----------------------------------------------------------------------------------


class SharedList(NamedTuple):
    """The held-out items and the others, of which a list has only so many.

    Attributes:
        others, new: recommenders of the one and of the other, to both of which the held-out items
            are new.
        user_num: (Q,) validation users whom training knows.
        relevant: Q lists of relevant items, none of them held out.
        seen: Q lists of the users' training items without the held-out ones.
        reads_context: whether the towers read something of a request itself.
        k: the cut-off.
        cost: the largest relative loss of ndcg@k on the rows of the others.
    """

    others: Recommender
    new: Recommender
    user_num: NDArray[np.int64]
    relevant: Ragged
    seen: Ragged
    reads_context: bool
    k: int
    cost: float

    @staticmethod
    def of(
        recommender: Recommender,
        blend: CandidateBlend,
        train: Interactions,
        validation: Interactions,
        held_out: NDArray[np.int64],
        config: Config,
    ) -> SharedList:
        """Arguments as in `with_new_items`."""
        counts = recommender.item_counts.copy()
        counts[held_out] = 0
        index = recommender.served.index
        kept = ~np.isin(index.item_nums, held_out)
        served = replace(recommender.served, blend=blend, item_counts=counts)
        others, new = (
            Recommender(replace(served, index=ExactIndex(vectors, nums)))
            for vectors, nums in (
                (index.vectors()[kept], index.item_nums[kept]),
                (vectors_of_new(recommender, held_out), held_out),
            )
        )
        asked = rows_of_others(train, validation, held_out, config)
        return SharedList(
            others,
            new,
            *asked,
            reads_context=served.tower_reads(validation.context or None),
            k=config.evaluation.k,
            cost=config.retriever.cold_cost,
        )

    def placed(self, weighing: Weighing, ask: Ask, kind: Kind) -> Weighing:
        """The weights of one kind of users with the level of new items, the highest one that costs
        no more than it may.

        What neighbours say of the other items grows with the number of items that a user has taken.
        The level follows, else new items would be shown to those alone who took little, or much.
        """
        users = self.user_num
        kept = np.arange(len(users))
        if kind == "new" and not self.reads_context:
            kept = np.flatnonzero(self.new.served.users.has_features()[users])
        if len(kept) > FIT_USERS:
            kept = kept[np.linspace(0, len(kept) - 1, FIT_USERS).astype(np.int64)]
        if not len(kept):
            return weighing
        queries, seen = ask(users[kept], kind), self.seen.take(kept)
        vectors = self.new.stages.queries.vectors(queries)
        old, new = (
            blended.best(queries, vectors, self.k, seen)
            for blended in (self.others.stages.blended, self.new.stages.blended)
            if blended is not None
        )
        growth = growth_of_gap(old.scores, new.scores, queries.activity)
        mean = float(queries.activity.mean())
        raised = np.float32(growth) * (queries.activity - np.float32(mean))
        level = largest_offset(
            old.item_nums,
            old.scores,
            new.item_nums,
            new.scores + raised[:, None],
            self.relevant.take(kept),
            self.k,
            cost=self.cost,
        )
        return replace(weighing, new_activity=growth).raised(level - growth * mean)


def growth_of_gap(old: Floats, new: Floats, activity: Floats) -> float:
    """How much further the best of the other items are above the best new ones for each 1 of
    activity (Q,), by least squares with a penalty that counts as much as a few queries.

    Both scores (Q, K) are those of conditional logits, so what compares the two groups is the
    logarithm of the sum of their exponentials.
    """
    there = np.isfinite(old[:, -1]) & np.isfinite(new[:, 0])
    if not there.any():
        return 0.0
    gap = logsumexp(old[there], axis=1) - logsumexp(new[there], axis=1)
    centred = activity[there].astype(np.float64) - activity[there].mean(dtype=np.float64)
    spread = float(centred @ centred) * (1 + PENALTY / len(centred))
    return float(centred @ gap) / spread if spread > 0 else 0.0
