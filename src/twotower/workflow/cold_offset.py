"""How much new items are to be shown: the offset of their scores, chosen on validation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.config import Config
from twotower.data.interactions import Interactions
from twotower.data.lists import Lists
from twotower.data.ranking import NO_ITEM
from twotower.evaluation.metrics import mean, ranking_metrics
from twotower.index import build_index
from twotower.models.two_tower import TwoTower
from twotower.serving.recommender import Recommender

SHARE = 0.1
"""Of the training items that are kept from the cold tower."""
STEPS = 40
"""Offsets that are tried, between those with which new items hardly ever and always come up."""
MAX_USERS = 5000
NOT_SHOWN = -100.0
"""The offset while the towers are trained: new items do not come up, so that training stops by how
well the towers rank the items that they learn from."""


def items_to_hold_out(
    model: TwoTower, train: Interactions, validation: Interactions | None, config: Config
) -> NDArray[np.int64]:
    """Item nums (H,) that the cold tower is not to see; none where nothing is to be chosen."""
    chosen = config.retriever.cold_offset != "auto" or model.cold_tower is None
    if chosen or validation is None or not len(validation):
        return np.zeros(0, dtype=np.int64)
    items = train.items
    rng = np.random.default_rng(config.training.seed)
    nums = rng.choice(items.num_warm, int(SHARE * items.num_warm), replace=False)
    return np.sort(nums).astype(np.int64) + items.first_known


def choose_offset(
    model: TwoTower,
    train: Interactions,
    validation: Interactions,
    held_out: NDArray[np.int64],
    config: Config,
) -> float:
    """The offset with the best product of two figures, as if the held-out items were new: ndcg@k
    of their rows in training and validation, and ndcg@k of the validation rows of the others.

    All items are ranked together; training rows of the others are masked. The slots of a list are
    shared, and a product loses where either side goes empty. Users have learned from the rows of
    the held-out items, which makes those easier to find than new ones are: the product, unlike a
    mean over all rows, has its peak where it would be if all of those figures were smaller by the
    same factor.

    Args:
        model: trained, as it is served.
        train: the training part.
        validation: the validation part.
        held_out: (H,) items that the cold tower has not seen.
        config: as trained.
    """
    if not len(held_out):
        return 0.0
    k = config.evaluation.k
    recommender = Recommender.build(model, train, config)
    user_num = np.unique(validation.user_num)
    user_num = user_num[(user_num >= 0) & train.users.is_warm(user_num)].astype(np.int64)
    if len(user_num) > MAX_USERS:
        rng = np.random.default_rng(config.training.seed)
        user_num = np.sort(rng.choice(user_num, MAX_USERS, replace=False))
    is_new = np.zeros(len(train.items) + 1, dtype=np.bool_)  # the last one is for the num -1
    is_new[held_out] = True
    relevant, of_new, seen = rows_to_find(train, validation, is_new, user_num)
    with torch.no_grad():
        model.cold_offset.zero_()
        vectors = model.cold_vectors(train.items.gather(torch.from_numpy(held_out))).cpu().numpy()
    kept = ~is_new[recommender.index.item_nums]
    old_index = build_index(
        config.index, recommender.index.vectors()[kept], recommender.index.item_nums[kept]
    )
    new_index = build_index(config.index, vectors, held_out)
    old = replace(recommender, index=old_index).top_k(user_num, k, mask_seen=False, excluded=seen)
    new = replace(recommender, index=new_index).top_k(user_num, k, mask_seen=False)
    return best_offset(old.item_nums, old.scores, new.item_nums, new.scores, relevant, of_new, k)


def rows_to_find(
    train: Interactions,
    validation: Interactions,
    is_new: NDArray[np.bool_],
    user_num: NDArray[np.integer],
) -> tuple[Lists, Lists, Lists]:
    """For each of Q users the other items and the new ones to be found, and what is masked; Q lists
    each.

    Args:
        train, validation: the parts.
        is_new: (len(items) + 1,) which item nums count as new.
        user_num: (Q,).
    """
    taken, later = is_new[train.item_num], is_new[validation.item_num]
    users = np.concatenate([validation.user_num[later], train.user_num[taken]])
    items = np.concatenate([validation.item_num[later], train.item_num[taken]])

    def lists(keys: NDArray[np.integer], values: NDArray[np.integer]) -> Lists:
        known = keys >= 0
        return Lists.group(keys[known], values[known], len(train.users)).take(user_num)

    return (
        lists(validation.user_num[~later], validation.item_num[~later]),
        lists(users, items),
        lists(train.user_num[~taken], train.item_num[~taken]),
    )


def best_offset(
    old_nums: NDArray[np.int64],
    old_scores: NDArray[np.float32],
    new_nums: NDArray[np.int64],
    new_scores: NDArray[np.float32],
    relevant: Lists,
    of_new: Lists,
    k: int,
) -> float:
    """The offset of new items' scores with the best product of the mean ndcg@k of both kinds of
    rows, the smallest of equals.

    Args:
        old_nums, old_scores: (Q, k) the best of the other items, best first.
        new_nums, new_scores: (Q, k) the best of the new ones.
        relevant: Q lists of the other items to be found.
        of_new: Q lists of the new ones.
        k: the cut-off.
    """
    there = (old_nums != NO_ITEM).all(axis=1) & (new_nums[:, 0] != NO_ITEM)
    if not there.any():
        return 0.0
    low = np.quantile(old_scores[there, -1] - new_scores[there, 0], 0.01)
    last = np.where(new_nums != NO_ITEM, new_scores, np.inf).min(axis=1)
    high = np.quantile(old_scores[there, 0] - last[there], 0.99)
    nums = np.concatenate([old_nums, new_nums], axis=1)
    best, found = -1.0, 0.0
    for offset in np.linspace(low, high, STEPS):
        scores = np.concatenate([old_scores, new_scores + np.float32(offset)], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        ranked = np.take_along_axis(nums, order, axis=1)
        figures = (
            mean(ranking_metrics(ranked, rows, k)[f"ndcg@{k}"]) for rows in (relevant, of_new)
        )
        value = math.prod(figure or 0.0 for figure in figures)
        if value > best:
            best, found = value, float(offset)
    return found
