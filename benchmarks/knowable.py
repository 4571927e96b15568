"""The synthetic shop's taste as far as it can be known from ids and some kinds of features.

Whoever has only ids knows nothing of a new item, or of a new user; features tell some of it. What
is not known is replaced by what is to be expected: the mean of exp(effect) over what is known. So
`best_reachable` of a catalogue with this taste is the ceiling of the models that read no more.
It is still that of one who has learned all that training holds without an error.

Shapes: B users asked, U users, N items, G genres.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.columns import ITEM_ID, USER_ID
from twotower.data.synthetic.planted_taste import (
    NUM_CONTEXTS,
    OCCUPATIONS,
    REGIONS,
    Floats,
    Nums,
    Taste,
)
from twotower.data.synthetic.shop import SyntheticShop, contexts_of

Flags = NDArray[np.bool_]

OF_ITEMS = {"camp": "metadata", "price and year": "metadata", "mood": "text", "look": "image"}
"""Effect -> the kind of feature that tells it of a new item; none tells the others."""
OF_USERS = ("camp", "price and year")
"""Effects that the metadata of a new user tell. Of moods and looks they tell what the group likes:
the occupation's moods, the region's looks."""


@dataclass(frozen=True, kw_only=True)
class Knowable(Taste):
    """A taste with gaps.

    Attributes:
        kinds: of the features that are read: metadata, text, image, history.
        new_users: (U,) those that training does not have.
        new_items: (N,) the same.
    """

    kinds: frozenset[str]
    new_users: Flags
    new_items: Flags

    def effects(self, users: Nums) -> dict[str, Floats]:
        """As `Taste.effects`, all (B, N)."""
        found = {}
        for name, effect in super().effects(users).items():
            known = np.broadcast_to(effect, (len(users), len(self.new_items))).copy()
            if name != "popularity" and ("metadata" not in self.kinds or name not in OF_USERS):
                strangers = np.flatnonzero(self.new_users[users])
                known[strangers] = self._expected_of(name, users[strangers])
            if OF_ITEMS.get(name) not in self.kinds:
                known[:, self.new_items] = log_mean_exp(known[:, ~self.new_items], axis=1)
            found[name] = known
        return found

    def _expected_of(self, name: str, strangers: Nums) -> Floats:
        """(B, N) an effect as it is on the mean of known users of the same group."""
        group, number = self._groups(name)
        expected = np.zeros((len(strangers), len(self.new_items)), dtype=np.float32)
        for value in range(number):
            of_group = group[strangers] == value
            if of_group.any():
                known = np.flatnonzero(~self.new_users & (group == value))
                expected[of_group] = log_mean_exp(super().effects(known)[name], axis=0)
        return expected

    def _groups(self, name: str) -> tuple[Nums, int]:
        """The group of each user (U,), and how many there are."""
        if "metadata" in self.kinds and name == "mood":
            return self.users.occupation, len(OCCUPATIONS)
        if "metadata" in self.kinds and name == "look":
            return self.users.region, len(REGIONS)
        return np.zeros(len(self.new_users), dtype=np.int64), 1

    def take(self, affinity: Floats, rows: Nums, items: Nums) -> None:
        """As `Taste.take`; what was begun is known from histories alone."""
        if "history" in self.kinds:
            super().take(affinity, rows, items)
        else:
            affinity[rows, items] = 0


def log_mean_exp(effects: Floats, axis: int) -> Floats:
    """log of the mean of exp; the axis is kept."""
    expected: Floats = np.log(np.exp(effects).mean(axis=axis, keepdims=True))
    return expected


def knowable(
    catalogue: SyntheticShop, train: pl.DataFrame, kinds: Collection[str]
) -> SyntheticShop:
    """The catalogue with the taste that can be known of it.

    Args:
        catalogue: the whole truth.
        train: rows with `user_id` and `item_id` of the training part.
        kinds: of features that are read beside ids: metadata, text, image, context, history.
    """
    taste = catalogue.taste
    known = Knowable(
        users=taste.users,
        items=taste.items,
        by_day=taste.by_day,
        by_context=expected_by_context(catalogue, reads_device="context" in kinds),
        kinds=frozenset(kinds),
        new_users=~catalogue.users[USER_ID].is_in(train[USER_ID].implode()).to_numpy(),
        new_items=~catalogue.items[ITEM_ID].is_in(train[ITEM_ID].implode()).to_numpy(),
        mood=taste.mood,
        look=taste.look,
    )
    return replace(catalogue, taste=known)


def expected_by_context(catalogue: SyntheticShop, *, reads_device: bool) -> Floats:
    """(4, N) the mean effect of the contexts that look the same to a model: those of a device, or
    all of them. None of the models reads the hour."""
    counts = np.bincount(contexts_of(catalogue.interactions), minlength=NUM_CONTEXTS)
    shape = (2, 2) if reads_device else (1, 4)
    weights = counts.reshape(*shape, 1) / counts.reshape(*shape, 1).sum(axis=1, keepdims=True)
    effects = catalogue.taste.by_context.reshape(*shape, -1)
    means = (weights * effects).sum(axis=1, keepdims=True)
    found: Floats = np.broadcast_to(means, effects.shape).reshape(NUM_CONTEXTS, -1)
    return found.astype(np.float32)
