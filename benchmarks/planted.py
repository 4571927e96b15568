"""How much of each signal planted in the synthetic shop a trained model's scores hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from twotower.data.columns import ITEM_ID, USER_ID
from twotower.data.dataset import Dataset
from twotower.data.entities import Features
from twotower.data.ranking import NO_ITEM
from twotower.data.synthetic import DEVICES, Catalogue
from twotower.data.taste import SERIES
from twotower.serving.recommender import Recommender

Floats = NDArray[np.floating[Any]]
NUM_USERS = 400
"""Users whose scores of all items are looked at."""


def recovered(
    catalogue: Catalogue, dataset: Dataset, recommender: Recommender, temperature: float
) -> dict[str, float]:
    """Signal -> the share of its planted effect that the scores hold.

    A model that is trained by softmax and has learned the truth gives logits (score / temperature)
    that are the true ones but for a constant. So the logits of the users are regressed on all that
    is planted, each user's mean taken off, and a coefficient says how strong an effect is beside
    the one planted: 0 not learned, 1 as planted.

    metadata (the camps of age, region and genre), text (moods) and image (looks) are told by the
    logits of items that no training row holds, where ids say nothing; ids (what is each user's and
    item's own) and history (the next parts of the series that a user has begun) by those of items
    in training; context by what the device changes in the logits of a user.

    Args:
        catalogue: where the dataset comes from.
        dataset: with its training part; users of the test part that training has, too, are asked.
        recommender: of the trained model.
        temperature: of the trained model.
    """
    users = asked_users(dataset)
    items = np.arange(dataset.items.first_known, len(dataset.items))
    cold = recommender.item_counts[items] == 0
    true_users, true_items = (
        ids.str.slice(1).cast(pl.Int64).to_numpy()
        for ids in (dataset.users.ids.gather(users), dataset.items.ids.gather(items))
    )
    told = {
        device: logits(recommender, users, items, device_of(dataset, device, len(users)))
        / temperature
        for device in DEVICES
    }
    both = (told[DEVICES[0]] + told[DEVICES[1]]) / 2
    taste = catalogue.taste
    effects = {
        name: np.broadcast_to(effect, (len(users), len(taste.items.arrival)))[:, true_items]
        for name, effect in taste.effects(true_users).items()
    }
    effects["series"] = SERIES * begun(catalogue, dataset, users, true_users)[:, true_items]
    on_cold = coefficients(
        both[:, cold], {n: e[:, cold] for n, e in effects.items() if n != "series"}
    )
    on_warm = coefficients(both[:, ~cold], {name: e[:, ~cold] for name, e in effects.items()})
    by_device = np.log(taste.by_context.reshape(2, 2, -1)).mean(axis=1)[:, true_items]
    change = np.broadcast_to(by_device[1] - by_device[0], both.shape)
    on_device = coefficients(told[DEVICES[1]] - told[DEVICES[0]], {"context": change})
    return {
        "ids": on_warm["factors"],
        "metadata": on_cold["camp"],
        "text": on_cold["mood"],
        "image": on_cold["look"],
        "context": on_device["context"],
        "history": on_warm["series"],
    }


def asked_users(dataset: Dataset) -> NDArray[np.int64]:
    """Up to `NUM_USERS` users that training and the test part share."""
    users = np.unique(dataset.test.user_num)
    users = users[dataset.users.is_warm(users)].astype(np.int64)
    return np.random.default_rng(0).permutation(users)[:NUM_USERS]


def device_of(dataset: Dataset, device: str, number: int) -> Features | None:
    """The context of requests from a device, where the schema reads it."""
    features = dataset.schema.features["context"]
    if not features:
        return None
    return {
        name: torch.from_numpy(feature.encode(pl.Series(feature.column, [device] * number)))
        for name, feature in features.items()
    }


def logits(
    recommender: Recommender,
    users: NDArray[np.int64],
    items: NDArray[np.int64],
    context: Features | None,
) -> Floats:
    """(U, N) scores of all items, 0 of those that have no vector."""
    found = recommender.top_k(users, len(items), context=context, mask_seen=False)
    rows, places = np.nonzero(found.item_nums != NO_ITEM)
    scores = np.zeros((len(users), int(items[-1]) + 1))
    scores[rows, found.item_nums[rows, places]] = found.scores[rows, places]
    return scores[:, items]


def begun(
    catalogue: Catalogue, dataset: Dataset, users: NDArray[np.int64], true_users: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(U, N) whether the item is the next part of what the user has taken before the test part."""
    known = pl.concat([dataset.parts.train, dataset.parts.validation])
    user, item = (known[name].str.slice(1).cast(pl.Int64).to_numpy() for name in (USER_ID, ITEM_ID))
    place = np.full(len(catalogue.users), -1)
    place[true_users] = np.arange(len(users))
    following = catalogue.taste.items.next_part[item]
    rows = (place[user] >= 0) & (following >= 0)
    wanted = np.zeros((len(users), len(catalogue.items)), dtype=np.bool_)
    wanted[place[user[rows]], following[rows]] = True
    return wanted


def coefficients(told: Floats, effects: dict[str, Floats]) -> dict[str, float]:
    """Ordinary least squares of (U, N) on effects (U, N) each, every user's mean taken off."""

    def flat(values: Floats) -> Floats:
        centred: Floats = values - values.mean(axis=1, keepdims=True)
        return centred.ravel()

    columns = np.stack([flat(effect.astype(np.float64)) for effect in effects.values()], axis=1)
    solution, *_ = np.linalg.lstsq(columns, flat(told), rcond=None)
    return dict(zip(effects, solution.tolist(), strict=True))
