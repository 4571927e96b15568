"""The most popular items, over all time or recently."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.baselines import PopularityConfig, RecentPopularityConfig
from twotower.data.arrays.ranked import POPULAR
from twotower.data.columns import TIMESTAMP
from twotower.data.dataset.interactions import Interactions
from twotower.data.values.times import SECONDS_PER_DAY
from twotower.errors import DataError, explain
from twotower.models.baselines.base import Baseline, C, Progress, Validate
from twotower.models.baselines.matrix import Matrix, row_weights
from twotower.models.baselines.popularity_ranker import PopularityRanker


class _Counts(Baseline[C]):
    """All users get the same ranking, without the items that they have seen."""

    needs_matrix = False

    def _set(self, counts: NDArray[np.number]) -> None:
        self.fallback = PopularityRanker(
            self.users, self.items, self.item_counts, self.seen, weights=counts.astype(np.float64)
        )
        self.paths = np.full(len(self.paths), POPULAR, dtype=np.int8)

    def _scores(self, user_num: NDArray[np.int64]) -> Tensor:
        raise AssertionError("every user is answered by popularity")

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"counts": self.fallback.weights[self.items.first_known : self.items.end_warm]}

    def _take(self, arrays: dict[str, NDArray[Any]]) -> None:
        counts = np.zeros(len(self.items))
        counts[self.items.first_known : self.items.end_warm] = arrays["counts"]
        self._set(counts)


class MostPopular(_Counts[PopularityConfig]):
    """The sum of the weights of an item's training rows."""

    name = "popularity"
    config_type = PopularityConfig

    def _learn(
        self,
        train: Interactions,
        matrix: Matrix,
        rng: np.random.Generator,
        validate: Validate | None,
        progress: Progress | None,
    ) -> None:
        weights = row_weights(train, self.config.weights)
        self._set(np.bincount(train.item_num, weights, minlength=len(self.items)))
        if progress is not None:
            progress(1, 1)


class RecentPopularity(_Counts[RecentPopularityConfig]):
    """The sum over an item's training rows of weight * 2^(-age / half-life), the age being that at
    the newest training row."""

    name = "recent_popularity"
    config_type = RecentPopularityConfig
    needs_times = True

    def _learn(
        self,
        train: Interactions,
        matrix: Matrix,
        rng: np.random.Generator,
        validate: Validate | None,
        progress: Progress | None,
    ) -> None:
        if train.timestamp is None:
            raise DataError(
                explain(
                    "the baseline 'recent_popularity' needs a timestamp for each interaction, but "
                    "the data has none",
                    column=TIMESTAMP,
                    fix="name the timestamp column with [data.columns] timestamp, or leave this "
                    "baseline out",
                )
            )
        ages = (train.timestamp.max(initial=0) - train.timestamp) / SECONDS_PER_DAY
        decayed = row_weights(train, self.config.weights) * 0.5 ** (
            ages / self.config.half_life_days
        )
        self._set(np.bincount(train.item_num, decayed, minlength=len(self.items)))
        if progress is not None:
            progress(1, 1)
