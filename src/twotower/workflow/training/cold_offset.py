"""The offset of the scores of new items, chosen on the validation part: of the towers alone, and,
for each kind of users, of a blend.

Shapes: H held-out items, A new items, Q queries, D embedding_dim, k places of a list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from twotower.config import Config
from twotower.data.arrays.distinct import distinct_values
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.histories import Histories
from twotower.evaluation.metrics import mean, ranking_metrics
from twotower.index import ExactIndex
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.candidate_blend import CandidateBlend, Weighing
from twotower.serving.bundle.queries import Floats, Queries
from twotower.workflow.training.validation import (
    FIT_USERS,
    PENALTY,
    Kind,
    Strangers,
    evenly,
)

SHARE = 0.1
"""Share of the training items that are held out from the cold tower."""
STEPS = 40
"""Number of offsets to try, from one that hardly ever shows new items to one that always does."""
FINE = 8
"""Each of these steps is divided into so many."""
MAX_USERS = 5000

Ask = Callable[[NDArray[np.int64], Kind, Histories | None], Queries]
"""Users (Q,) of the validation part as users of a kind, with Q lists of events instead of theirs if
these are given."""


def items_to_hold_out(
    model: TwoTower, train: Interactions, validation: Interactions | None, config: Config
) -> NDArray[np.int64]:
    """Item nums (H,) to hold out from the cold tower; none if no offset is to be chosen."""
    chosen = config.retriever.cold_offset != "auto" or model.cold_tower is None
    if chosen or validation is None or not len(validation):
        return np.zeros(0, dtype=np.int64)
    items = train.items
    rng = np.random.default_rng(config.training.seed)
    nums = rng.choice(items.num_warm, int(SHARE * items.num_warm), replace=False)
    return np.sort(nums).astype(np.int64) + items.first_known


class ValidationQueries(NamedTuple):
    """Queries for the validation rows of items that are not held out.

    Attributes:
        user_num: (Q,).
        relevant: Q lists of relevant items.
        seen: Q lists of the users' training items without the held-out ones, as new items have no
            interactions.
    """

    user_num: NDArray[np.int64]
    relevant: Ragged
    seen: Ragged


def rows_of_others(
    train: Interactions, validation: Interactions, held_out: NDArray[np.int64], config: Config
) -> ValidationQueries:
    """The queries while the held-out items (H,) count as new."""
    user_num = distinct_values(validation.user_num).astype(np.int64)
    user_num = user_num[(user_num >= 0) & train.users.is_warm(user_num)]
    if len(user_num) > MAX_USERS:
        rng = np.random.default_rng(config.training.seed)
        user_num = np.sort(rng.choice(user_num, MAX_USERS, replace=False))
    of_new = np.isin(validation.item_num, held_out)
    learned = np.flatnonzero(~np.isin(train.item_num, held_out))
    return ValidationQueries(
        user_num,
        validation.take(np.flatnonzero(~of_new)).by_user().take(user_num),
        train.take(learned).by_user().take(user_num),
    )


def choose_offset(
    recommender: Recommender,
    train: Interactions,
    validation: Interactions,
    held_out: NDArray[np.int64],
    config: Config,
) -> float:
    """The largest number to add to the scores of new items that costs at most
    `retriever.cold_cost`: the relative loss in ndcg@k on the validation rows of the other items
    when the held-out items are ranked among them as new.

    The places of a list are limited, so a new item that is shown replaces another one. The share of
    future interactions with new items is unknown; therefore the cost is a setting.

    Args:
        recommender: of towers that were trained on `train`; its index has no new item.
        train: the training part.
        validation: the validation part.
        held_out: (H,) items that the cold tower was not trained on, at least one.
        config: as trained.
    """
    k = config.evaluation.k
    asked = rows_of_others(train, validation, held_out, config)
    vectors = vectors_of_new(recommender, held_out)
    counts = recommender.item_counts.copy()
    counts[held_out] = 0
    kept = ~np.isin(recommender.served.index.item_nums, held_out)
    index = recommender.served.index
    old_index = ExactIndex(index.vectors()[kept], index.item_nums[kept])
    new_index = ExactIndex(vectors, held_out)
    old, new = (
        Recommender(replace(recommender.served, index=index, item_counts=counts)).top_k(
            asked.user_num, k, mask_seen=False, excluded=asked.seen
        )
        for index in (old_index, new_index)
    )
    return largest_offset(
        old.item_nums,
        old.scores,
        new.item_nums,
        new.scores,
        asked.relevant,
        k,
        cost=config.retriever.cold_cost,
    )


def largest_offset(
    old_nums: NDArray[np.int64],
    old_scores: NDArray[np.float32],
    new_nums: NDArray[np.int64],
    new_scores: NDArray[np.float32],
    relevant: Ragged,
    k: int,
    *,
    cost: float,
) -> float:
    """The largest offset of the scores of new items at which ndcg@k on the rows of the other items
    falls by at most the share `cost`; 0 if no list is full. Where the lists find none of these rows
    nothing tells what it costs: then new items are hardly ever shown.

    Args:
        old_nums, old_scores: (Q, k) the best of the other items, best first.
        new_nums, new_scores: (Q, k) the best of the new ones.
        relevant: Q lists of relevant items, none of them new.
        k: the cut-off.
        cost: the largest relative loss.
    """
    there = (old_nums != NO_ITEM).all(axis=1) & (new_nums[:, 0] != NO_ITEM)
    if not there.any():
        return 0.0
    low = float(np.quantile(old_scores[there, -1] - new_scores[there, 0], 0.01))
    last = np.where(new_nums != NO_ITEM, new_scores, np.inf).min(axis=1)
    high = float(np.quantile(old_scores[there, 0] - last[there], 0.99))
    nums = np.concatenate([old_nums, new_nums], axis=1)

    def figure(ranked: NDArray[np.int64]) -> float:
        return mean(ranking_metrics(ranked, relevant, k)[f"ndcg@{k}"]) or 0.0

    reached = figure(old_nums)
    if not reached:
        return low

    def costs_too_much(offset: float) -> bool:
        scores = np.concatenate([old_scores, new_scores + np.float32(offset)], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return figure(np.take_along_axis(nums, order, axis=1)) < (1 - cost) * reached

    step = (high - low) / STEPS
    for place in range(1, STEPS + 1):
        if not costs_too_much(low + place * step):
            continue
        # Behind the first that costs too much another may not, by chance.
        last = low + (place - 1) * step
        for part in range(1, FINE):
            if costs_too_much(last + part * step / FINE):
                return last + (part - 1) * step / FINE
        return last + (FINE - 1) * step / FINE
    return high


def vectors_of_new(recommender: Recommender, nums: NDArray[np.int64]) -> Floats:
    """(A, D) the vectors that items (A,) have as new ones."""
    items, towers = recommender.items, recommender.served.towers
    with torch.no_grad():
        vectors: Floats = towers.cold_vectors(items.gather(torch.from_numpy(nums))).cpu().numpy()
    return vectors


# --- the level of a blend -----------------------------------------------------------------------


class Level(NamedTuple):
    """What is added to the scores of new items.

    Attributes:
        at_mean: at the mean activity of the users who were asked.
        growth: for each 1 of activity.
        mean: that activity.
    """

    at_mean: float
    growth: float
    mean: float

    def of(self, weighing: Weighing) -> Weighing:
        """The weights with this level."""
        raised = weighing.raised(self.at_mean - self.growth * self.mean)
        return replace(raised, new_activity=self.growth)


class RankedApart(NamedTuple):
    """The best of two groups of items for Q queries.

    Attributes:
        old_nums, old_scores: (Q, k) trained items, best first.
        new_nums, new_scores: (Q, k) new ones.
        activity: (Q,) see `Queries.activity`.
        relevant: Q lists of relevant items, none of them new.
    """

    old_nums: NDArray[np.int64]
    old_scores: Floats
    new_nums: NDArray[np.int64]
    new_scores: Floats
    activity: Floats
    relevant: Ragged

    @staticmethod
    def joined(parts: list[RankedApart]) -> RankedApart:
        """The queries of several, at least one."""
        lists = [part.relevant for part in parts]
        offsets = np.cumsum(np.concatenate([[0], *(one.lengths for one in lists)]))
        return RankedApart(
            np.concatenate([part.old_nums for part in parts]),
            np.concatenate([part.old_scores for part in parts]),
            np.concatenate([part.new_nums for part in parts]),
            np.concatenate([part.new_scores for part in parts]),
            np.concatenate([part.activity for part in parts]),
            Ragged(offsets, np.concatenate([one.values for one in lists])),
        )


class LevelSearch(NamedTuple):
    """New items and the others, both for the same places of the lists.

    Attributes:
        others, new: recommenders of the one and of the other.
        validation: its rows of the others.
        user_num: (Q,) users of the validation part whom training knows.
        relevant: Q lists of relevant items, none of them new.
        seen: Q lists of the users' training items, none of them new.
        reads_context: whether the towers read something of a request itself.
        k: the cut-off.
        cost: the largest relative loss of ndcg@k on the rows of the others.
    """

    others: Recommender
    new: Recommender
    validation: Interactions
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
        new: NDArray[np.int64],
        config: Config,
        cost: float,
    ) -> LevelSearch:
        """Put both groups of items together.

        Args:
            recommender: of towers that were trained on `train`; its index has no new item.
            blend: with the content neighbours of the new items.
            train: the training part.
            validation: the validation part.
            new: (A,) items that count as new, at least one.
            config: as trained.
            cost: as in the class.
        """
        counts = recommender.item_counts.copy()
        counts[new] = 0
        index = recommender.served.index
        kept = ~np.isin(index.item_nums, new)
        served = replace(recommender.served, blend=blend, item_counts=counts)
        others, newcomers = (
            Recommender(replace(served, index=ExactIndex(vectors, nums)))
            for vectors, nums in (
                (index.vectors()[kept], index.item_nums[kept]),
                (vectors_of_new(recommender, new), new),
            )
        )
        of_others = counts[np.maximum(validation.item_num, 0)] > 0
        return LevelSearch(
            others,
            newcomers,
            validation.take(np.flatnonzero(of_others & (validation.item_num >= 0))),
            *rows_of_others(train, validation, new, config),
            reads_context=served.tower_reads(validation.context or None),
            k=config.evaluation.k,
            cost=cost,
        )

    def level(self, ask: Ask, kind: Kind) -> Level | None:
        """The highest level of new items within the cost, for users of a kind; None where nobody
        can be asked or nothing is found.

        What neighbours say of the other items grows with the number of items that a user has taken.
        The level follows, else new items would be shown to those alone who took little, or much.
        """
        users = self.new.users
        reached = np.arange(len(self.user_num))
        if kind == "new" and not self.reads_context:
            reached = np.flatnonzero(users.has_features()[self.user_num])
        reached = evenly(reached, FIT_USERS)
        by_id = ID_FEATURE in users.schema.features["user"]
        parts = [
            self._ranked(
                ask(self.user_num[reached], kind, None),
                self.seen.take(reached),
                self.relevant.take(reached),
            )
        ]
        if kind == "unknown" or (kind == "known" and not by_id):
            parts.append(self._ranked_strangers(ask, kind))
        found = RankedApart.joined(parts)
        growth = growth_of_gap(found.old_scores, found.new_scores, found.activity)
        if not len(found.activity) or not self._finds_some(found):
            return None
        mean_activity = float(found.activity.mean())
        raised = np.float32(growth) * (found.activity - np.float32(mean_activity))
        level = largest_offset(
            found.old_nums,
            found.old_scores,
            found.new_nums,
            found.new_scores + raised[:, None],
            found.relevant,
            self.k,
            cost=self.cost,
        )
        return Level(level, growth, mean_activity)

    def _finds_some(self, found: RankedApart) -> bool:
        metrics = ranking_metrics(found.old_nums, found.relevant, self.k)
        return bool(mean(metrics[f"ndcg@{self.k}"]))

    def _ranked_strangers(self, ask: Ask, kind: Kind) -> RankedApart:
        user_num, known, later = Strangers.of(self.validation, self.new.users)
        return self._ranked(ask(user_num, kind, known), known.items, later)

    def _ranked(self, queries: Queries, seen: Ragged, relevant: Ragged) -> RankedApart:
        vectors = self.new.stages.queries.vectors(queries)
        old, new = (
            blended.best(queries, vectors, self.k, seen)
            for blended in (self.others.stages.blended, self.new.stages.blended)
            if blended is not None
        )
        return RankedApart(
            old.item_nums, old.scores, new.item_nums, new.scores, queries.activity, relevant
        )


def growth_of_gap(old: Floats, new: Floats, activity: Floats) -> float:
    """How much further the best of the other items are above the best new ones for each 1 of
    activity, by least squares with a penalty: as if a few more queries, 1 of activity away from the
    mean, had a gap like the mean one.

    Both scores are those of conditional logits, so what compares the two groups is the logarithm of
    the sum of their exponentials.

    Args:
        old, new: (Q, k) scores, best first, -inf where there is no item.
        activity: (Q,).
    """
    there = np.isfinite(old[:, -1]) & np.isfinite(new[:, 0])
    if not there.any():
        return 0.0
    gap = logsumexp(old[there], axis=1) - logsumexp(new[there], axis=1)
    centred = activity[there].astype(np.float64) - activity[there].mean(dtype=np.float64)
    return float(centred @ gap) / (float(centred @ centred) + PENALTY)
