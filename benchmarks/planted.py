"""How much of each signal planted in the synthetic shop a trained model's scores hold.

A model that is trained by softmax and has learned the truth gives logits (score / temperature) that
are the true ones but for a constant a user. So logits are regressed on all that is planted, each
user's mean taken off, and a coefficient says how strong an effect is beside the one planted: 0 not
learned, 1 as planted. What a model does not read it cannot know of:

- metadata (the camps of age, region and genre), text (moods) and image (looks) are told by the
  logits of items that are drawn for the purpose and that no model has seen, where ids say nothing;
- context by what another device changes in the logits of these items;
- history by what one more event in it changes: the logit of the next part of the series, and not
  that of the part before, which is alike for whoever only knows what is taken together;
- ids (what is each user's and item's own) by items that training has seen and the user has not.

Context is told by items of training, too (`context_warm`). Logits of these come from a loss that
weighs negatives (`retriever.negative_weight`) and distorts their scale: they are first multiplied
by the factor that makes the test part likeliest.

Shapes: U users, N items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.entities import Features, encode_rows, to_column
from twotower.data.features.histories import Histories, History
from twotower.data.synthetic.planted_taste import SERIES, Taste
from twotower.data.synthetic.shop import DEVICES, SyntheticShop, draw_new_items
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.queries import Queries

Floats = NDArray[np.floating[Any]]
Nums = NDArray[np.int64]

NUM_USERS = 400
"""Users whose scores of all items are looked at."""
NUM_NEW_ITEMS = 1000
NUM_ROWS = 4000
"""Of the test part, by which the logits' factor is found."""
NUM_EVENTS = 5
"""That each user's history is tried with, one at a time."""
NEWTON_STEPS = 30


def recovered(
    catalogue: SyntheticShop, dataset: Dataset, recommender: Recommender, folder: Path
) -> dict[str, float]:
    """Signal -> the share of its planted effect that the scores hold.

    Args:
        catalogue: where the dataset comes from.
        dataset: with its training part; users of the test part that training has, too, are asked.
        recommender: of the trained model.
        folder: gets the covers of new items.
    """
    asked = Asked(catalogue, dataset, recommender, asked_users(dataset))
    new = on_new_items(asked, folder)
    return {
        "ids": asked.factor * on_own(asked),
        "metadata": new.get("camp", 0.0),
        "text": new.get("mood", 0.0),
        "image": new.get("look", 0.0),
        "context": new.get("device", 0.0),
        "context_warm": asked.factor
        * on_device(asked, asked.item_vectors, device_change(catalogue.taste)[asked.true_items]),
        "history": asked.factor * on_event(asked),
    }


def asked_users(dataset: Dataset) -> Nums:
    """Up to `NUM_USERS` users that training and the test part share."""
    users = np.unique(dataset.test.user_num)
    users = users[dataset.users.is_warm(users)].astype(np.int64)
    return np.random.default_rng(0).permutation(users)[:NUM_USERS]


def true_nums(ids: pl.Series) -> Nums:
    """The catalogue's rows of raw ids."""
    return ids.str.slice(1).cast(pl.Int64).to_numpy()


@dataclass(frozen=True)
class Asked:
    """A trained model and the users (U,) who are asked about.

    Attributes:
        users: rows of the user table.
    """

    catalogue: SyntheticShop
    dataset: Dataset
    recommender: Recommender
    users: Nums

    @cached_property
    def true_users(self) -> Nums:
        """(U,) rows of the catalogue's users."""
        return true_nums(self.dataset.users.ids.gather(self.users))

    @cached_property
    def items(self) -> Nums:
        """(N,) nums of the items that training has seen."""
        return np.arange(self.dataset.items.first_known, self.dataset.items.end_warm)

    @cached_property
    def true_items(self) -> Nums:
        """(N,) rows of the catalogue's items."""
        return true_nums(self.dataset.items.ids.gather(self.items))

    @cached_property
    def item_vectors(self) -> Floats:
        """(N, D)."""
        index = self.recommender.served.index
        vectors: Floats = index.vectors()[np.searchsorted(index.item_nums, self.items)]
        return vectors

    def logits(self, vectors: Floats, device: str | None = None) -> Floats:
        """(U, M) of items with the vectors (M, D); without a device the mean over both."""
        devices = DEVICES if device is None else (device,)
        found = [
            self.queries(self.users, context_of(self.dataset, [name] * len(self.users)))
            for name in devices
        ]
        logits: Floats = np.mean(found, axis=0) @ vectors.T
        return logits

    def queries(self, users: Nums, context: Features) -> Floats:
        """(Q, D) query vectors of rows of the user table, over the temperature."""
        asked = self.recommender.served.queries_of(users, context)
        return self.told(asked.users, context, asked.history)

    def told(self, users: Features, context: Features, history: History | None) -> Floats:
        """(Q, D) query vectors, over the temperature."""
        vectors = self.recommender.served.query_encoder.vectors(Queries(users, context, history))
        return vectors / float(self.recommender.served.towers.temperature.detach())

    @cached_property
    def factor(self) -> float:
        """By which the logits of items in training are multiplied to make the test part likeliest:
        the choice of each row among the items that its user has not taken before."""
        test = self.dataset.test
        rows = np.flatnonzero(
            self.dataset.users.is_warm(test.user_num) & self.dataset.items.is_warm(test.item_num)
        )
        rows = np.random.default_rng(0).permutation(rows)[:NUM_ROWS]
        users = test.user_num[rows].astype(np.int64)
        context = {name: column[torch.from_numpy(rows)] for name, column in test.context.items()}
        logits = self.queries(users, context) @ self.item_vectors.T
        return likeliest_factor(logits, test.item_num[rows] - self.items[0], self.seen(users))

    def seen(self, users: Nums) -> NDArray[np.bool_]:
        """(Q, N) which items the users have taken before the test part."""
        found = np.zeros((len(users), len(self.items)), dtype=np.bool_)
        lists = self.recommender.served.seen.take(users)
        places = lists.values - self.items[0]
        known = (places >= 0) & (places < len(self.items))
        found[lists.keys()[known], places[known]] = True
        return found


def context_of(dataset: Dataset, devices: list[str]) -> Features:
    """The context (Q, ...) of requests from devices (Q,), as far as the schema reads it."""
    return {
        name: to_column(feature.encode(pl.Series(feature.column, devices)))
        for name, feature in dataset.schema.features["context"].items()
    }


def likeliest_factor(logits: Floats, chosen: Nums, masked: NDArray[np.bool_]) -> float:
    """The f > 0 for which softmax(f * logits) over what is not masked gives the choices the largest
    likelihood, whose logarithm is concave in f; by Newton's method.

    Args:
        logits: (T, N).
        chosen: (T,) columns.
        masked: (T, N); what was chosen counts even so.
    """
    rows = np.arange(len(logits))
    masked = masked.copy()
    masked[rows, chosen] = False
    factor = 1.0
    for _ in range(NEWTON_STEPS):
        scores = np.where(masked, -np.inf, factor * logits)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        mean = (weights * logits).sum(axis=1)
        variance = (weights * logits**2).sum(axis=1) - mean**2
        step = (logits[rows, chosen] - mean).mean() / max(float(variance.mean()), 1e-12)
        factor = float(np.clip(factor + step, factor / 2, 2 * factor))
    return factor


# --- what is asked ------------------------------------------------------------------------------


def on_new_items(asked: Asked, folder: Path) -> dict[str, float]:
    """Effect -> its coefficient in the logits of new items; nothing where these have no vector."""
    model = asked.recommender.served.towers
    if model.cold_tower is None:
        return {}
    traits, rows = draw_new_items(folder, NUM_NEW_ITEMS, seed=asked.catalogue.seed)
    with torch.no_grad():
        vectors = model.item_vectors(encode_rows(asked.dataset.schema, "item", rows)).numpy()
    taste = asked.catalogue.taste
    effects = replace(taste, items=traits).effects(asked.true_users)
    found = coefficients(asked.logits(vectors), effects)
    # What a device is good for is linear in the genres' shares.
    by_genre, *_ = np.linalg.lstsq(taste.items.genre_shares, device_change(taste), rcond=None)
    found["device"] = on_device(asked, vectors, traits.genre_shares @ by_genre)
    return found


def on_own(asked: Asked) -> float:
    """The coefficient of what is each user's and item's own."""
    effects = {
        name: np.broadcast_to(effect, (len(asked.users), len(asked.catalogue.items)))
        for name, effect in asked.catalogue.taste.effects(asked.true_users).items()
    }
    effects = {name: effect[:, asked.true_items] for name, effect in effects.items()}
    told = asked.logits(asked.item_vectors)
    return coefficients(told, effects, ~asked.seen(asked.users))["factors"]


def on_device(asked: Asked, vectors: Floats, change: Floats) -> float:
    """The coefficient of what the device is good for, `change` (M,), in what it changes of the
    logits of items with the vectors (M, D)."""
    first, second = (asked.logits(vectors, device) for device in DEVICES)
    return coefficients(second - first, {"change": change})["change"]


def device_change(taste: Taste) -> Floats:
    """(items,) what another device adds to the logit of each item, the mean over the hours."""
    by_device = np.log(taste.by_context).reshape(len(DEVICES), 2, -1).mean(axis=1)
    change: Floats = by_device[1] - by_device[0]
    return change


def on_event(asked: Asked) -> float:
    """The coefficient of the next part of a series in what a part of it changes in a history, less
    that of the part before."""
    if asked.dataset.schema.history is None:
        return 0.0
    rng = np.random.default_rng(0)
    before, after = series_around(asked)
    parts = np.flatnonzero((before >= 0) & (after >= 0))
    users = np.repeat(asked.users, NUM_EVENTS)
    events = rng.choice(parts, len(users))
    seen = asked.seen(users)
    rows = np.arange(len(users))
    free = ~(seen[rows, events] | seen[rows, after[events]] | seen[rows, before[events]])
    users, events = users[free], events[free]
    rows = np.arange(len(users))
    context = context_of(asked.dataset, [DEVICES[0]] * len(users))
    known = asked.recommender.users.gather(torch.from_numpy(users))
    told = [
        asked.told(known, context, history) @ asked.item_vectors.T
        for history in histories(asked, users, asked.items[events])
    ]
    effects: dict[str, Floats] = {}
    for name, place in (("after", after[events]), ("before", before[events])):
        effects[name] = np.zeros_like(told[0])
        effects[name][rows, place] = SERIES
    # The event's own item is not to be had again.
    counted = np.ones(told[0].shape, dtype=np.bool_)
    counted[rows, events] = False
    found = coefficients(told[1] - told[0], effects, counted)
    return found["after"] - found["before"]


def series_around(asked: Asked) -> tuple[Nums, Nums]:
    """The parts before and after each item of training (N,), as its places; -1 for none."""
    place = np.full(len(asked.catalogue.items) + 1, -1)
    place[asked.true_items] = np.arange(len(asked.items))
    following = asked.catalogue.taste.items.next_part
    after = place[following[asked.true_items]]
    before = np.full(len(asked.items), -1)
    before[after[after >= 0]] = np.flatnonzero(after >= 0)
    return before, after


def histories(asked: Asked, users: Nums, item_num: Nums) -> tuple[History, History]:
    """What is known of the users (Q,), and the same with one more event (Q,)."""
    feature = asked.dataset.schema.history
    assert feature is not None
    known = asked.recommender.served.histories
    starts, lengths = known.items.bounds(users)
    rows = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
    owner = np.repeat(np.arange(len(users)), lengths)
    items, time = known.items.values[rows].astype(np.int64), known.time
    assert time is not None
    last = time[starts + lengths - 1] + known.typical_gap()
    more = Histories.group(
        np.concatenate([owner, np.arange(len(users))]),
        np.concatenate([items, item_num]),
        len(users),
        time=np.concatenate([time[rows], last]),
    )
    length = feature.config.max_length
    return known.latest(users, length), more.latest(np.arange(len(users)), length)


def coefficients(
    told: Floats, effects: Mapping[str, Floats], counted: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Ordinary least squares of (U, N) on effects, (U, N) or (N,) each, every user's mean taken
    off, over what is counted (U, N): all where it is left out."""
    counted = np.ones(told.shape, dtype=np.bool_) if counted is None else counted

    def flat(values: Floats) -> Floats:
        values = np.broadcast_to(values, told.shape).astype(np.float64)
        means = values.mean(axis=1, keepdims=True, where=counted)
        centred: Floats = (values - means)[counted]
        return centred

    columns = np.stack([flat(effect) for effect in effects.values()], axis=1)
    solution, *_ = np.linalg.lstsq(columns, flat(told), rcond=None)
    return dict(zip(effects, solution.tolist(), strict=True))
