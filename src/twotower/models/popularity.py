"""The baseline that everything has to beat: what most people took."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twotower.data.entities import EntityTable, Features
from twotower.data.interactions import Interactions
from twotower.data.lists import Lists
from twotower.data.ranking import POPULAR, Ranked, first_unlisted


class Popularity:
    """Ranks by the number of training rows; of equal numbers the lower item num comes first."""

    def __init__(
        self, users: EntityTable, items: EntityTable, item_counts: NDArray[np.int64], seen: Lists
    ) -> None:
        """Order the catalogue.

        Args:
            users: who may ask.
            items: the catalogue; rows of padding and OOV are never recommended.
            item_counts: (R,) training rows of each item num.
            seen: (len(users),) lists of items that a user is not to be shown again.
        """
        self.users = users
        self.items = items
        self.item_counts = item_counts
        self.seen = seen
        nums = np.arange(items.first_known, len(items))
        self.order = nums[np.lexsort((nums, -item_counts[nums]))]

    @staticmethod
    def fit(train: Interactions, *, seen: Lists | None = None) -> Popularity:
        """Count a training part; `seen` is its own rows where it is not given."""
        return Popularity(
            train.users,
            train.items,
            train.item_counts(),
            train.by_user() if seen is None else seen,
        )

    def top_k(
        self,
        user_num: NDArray[np.integer],
        k: int,
        *,
        context: Features | None = None,
        mask_seen: bool = True,
        excluded: Lists | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Ranked:
        """The k most popular items for each of Q users.

        Args:
            user_num: (Q,).
            k: at least 1.
            context: makes no difference here.
            mask_seen: leave out what the user has seen.
            excluded: Q lists of further items to leave out.
            allowed: (R,) which items may be answered at all.
        """
        del context
        unwanted = self.seen.take(user_num) if mask_seen else Lists.empty(len(user_num))
        if excluded is not None:
            unwanted = unwanted.merge(excluded)
        order = self.order if allowed is None else self.order[allowed[self.order]]
        head = order[: k + int(unwanted.lengths.max(initial=0))]
        candidates = np.broadcast_to(head, (len(user_num), len(head)))
        scores = self.item_counts[candidates].astype(np.float32)
        nums, values = first_unlisted(candidates, scores, unwanted, k)
        return Ranked(nums, values, np.full(len(user_num), POPULAR, dtype=np.int8))
