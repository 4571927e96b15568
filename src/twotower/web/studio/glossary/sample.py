"""Sample users, items and recommendations of a bundle, for the examples of the glossary."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.arrays.ranked import NO_ITEM
from twotower.models.layers.embedding import EmbeddingTable
from twotower.models.layers.encoders import IdEncoder
from twotower.serving.bundle.served_model import ServedModel
from twotower.web.studio.map import names

Bars = list[tuple[str, float]]
K: Final = 10
"""Number of recommended items."""
REPEATS: Final = 5
"""Number of timed repetitions."""
PAIRS: Final = 256
"""Maximum number of sampled users."""


@dataclass(frozen=True)
class Example:
    """An example of a term.

    Attributes:
        text: the example in sentences.
        bars: labels and values of a bar chart; may be empty.
    """

    text: str
    bars: Bars

    def to_json(self) -> dict[str, Any]:
        """The example as JSON."""
        return asdict(self)


class Sample:
    """A served with sampled users and their recommendations, computed lazily."""

    def __init__(self, served: ServedModel, forgotten: Collection[str] = ()) -> None:
        self.served = served
        self._forgotten = forgotten
        self.model = served.towers
        self.dim = served.towers.config.embedding_dim

    @cached_property
    def users(self) -> NDArray[np.int64]:
        """Up to `PAIRS` nums of users with events."""
        users = self.served.users
        nums = np.arange(users.first_known, len(users))
        if self._forgotten:
            left_out = users.nums(pl.Series(list(self._forgotten)))
            nums = np.setdiff1d(nums, left_out, assume_unique=True)
        lengths = self.served.histories.items.bounds(nums)[1]
        return np.random.default_rng(0).permutation(nums[lengths > 0])[:PAIRS].astype(np.int64)

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """(len(users), D) their query vectors."""
        return self.served.query_vectors(self.users)

    @cached_property
    def found(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and item nums (K,) recommended to the first sampled user."""
        seen = self.served.seen.take(self.users[:1])
        found = self.served.index.search(self.vectors[:1], K, excluded=seen)
        there = found.item_nums[0] != NO_ITEM
        return found.scores[0][there], found.item_nums[0][there]

    @property
    def user_id(self) -> str:
        """Id of the first sampled user."""
        return str(self.served.users.ids[int(self.users[0])])

    @cached_property
    def names(self) -> list[str]:
        """(len(items),) names of the items."""
        return names(self.served.items).to_list()

    @cached_property
    def by_popularity(self) -> NDArray[np.int64]:
        """Nums of the items with training rows, most popular first."""
        order = self.served.popularity.order
        warm: NDArray[np.int64] = order[self.served.item_counts[order] > 0]
        return warm

    @property
    def table(self) -> EmbeddingTable | None:
        """The item id embedding table; None if ids are not a feature."""
        encoders = self.model.item_tower.encoders
        first = encoders[0] if len(encoders) else None
        return first.table if isinstance(first, IdEncoder) else None


def fastest(run: Callable[[], object]) -> float:
    """Duration in milliseconds of the fastest of several calls, the one with the least noise."""
    spent = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        spent.append(time.perf_counter() - start)
    return 1000 * min(spent)
