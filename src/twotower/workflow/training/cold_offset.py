"""The offset of the scores of new items, chosen on the validation part."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.config import Config
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM
from twotower.data.dataset.interactions import Interactions
from twotower.evaluation.metrics import mean, ranking_metrics
from twotower.index import ExactIndex
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender

SHARE = 0.1
"""Share of the training items that are held out from the cold tower."""
STEPS = 40
"""Number of offsets to try, from one that hardly ever shows new items to one that always does."""
FINE = 8
"""As many offsets are tried between two of them."""
MAX_USERS = 5000


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
    user_num = np.unique(validation.user_num).astype(np.int64)
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
    model = recommender.served.towers
    k = config.evaluation.k
    asked = rows_of_others(train, validation, held_out, config)
    with torch.no_grad():
        vectors = model.cold_vectors(train.items.gather(torch.from_numpy(held_out))).cpu().numpy()
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

    def may_be(offset: float) -> bool:
        scores = np.concatenate([old_scores, new_scores + np.float32(offset)], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return figure(np.take_along_axis(nums, order, axis=1)) >= (1 - cost) * reached

    # Coarse steps, then fine ones from the last that may be: another order of the lists can cost
    # less by chance, so the first offset that costs too much ends the search.
    found, step = low, (high - low) / STEPS
    for size in (step, step / FINE):
        for _ in range(STEPS):
            if not may_be(found + size):
                break
            found += size
    return found
