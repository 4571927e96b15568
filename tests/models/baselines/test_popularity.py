"""Popularity and recent popularity keep the contract, and their counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.contracts.model_contract import FIRST, ModelContract, interactions
from twotower.config.baselines import PopularityConfig, RecentPopularityConfig
from twotower.errors import DataError
from twotower.models.baselines import MostPopular, RecentPopularity

DAY = 86_400


class TestMostPopular(ModelContract):
    model_type = MostPopular
    finds_groups = False

    def config(self) -> PopularityConfig:
        return PopularityConfig()


class TestRecentPopularity(ModelContract):
    model_type = RecentPopularity
    finds_groups = False

    def config(self) -> RecentPopularityConfig:
        return RecentPopularityConfig()


def test_weights_are_summed() -> None:
    train = interactions([(0, 0), (1, 1), (2, 1), (1, 1)], 3, 3, weight=[7, 1, 1, 3])
    items = np.array([[0, 1, 2]]) + FIRST
    for weights, expected in (("raw", [7, 5, 0]), ("none", [1, 3, 0]), ("log", [3, 4, 0])):
        config = PopularityConfig.model_validate({"weights": weights})
        assert MostPopular.fit(train, config).score(np.array([FIRST]), items).tolist() == [expected]


def test_decay_by_hand() -> None:
    # Item 0 twice, 20 and 10 days before the newest row; item 1 once, on the last day.
    train = interactions(
        [(0, 0), (1, 0), (2, 1)], 3, 3, timestamp=[100 * DAY, 110 * DAY, 120 * DAY]
    )
    items = np.array([[0, 1, 2]]) + FIRST
    config = RecentPopularityConfig(half_life_days=10)
    model = RecentPopularity.fit(train, config)
    assert model.score(np.array([FIRST]), items).tolist() == [[0.75, 1.0, 0.0]]
    slow = RecentPopularity.fit(train, RecentPopularityConfig(half_life_days=20))
    assert slow.score(np.array([FIRST]), items)[0] == pytest.approx([0.5 + 0.5**0.5, 1.0, 0.0])
    asked = np.array([FIRST + 2])
    assert model.top_k(asked, 3, mask_seen=False).item_nums.tolist() == [[3, 2, 4]]
    assert slow.top_k(asked, 3, mask_seen=False).item_nums.tolist() == [[2, 3, 4]]
    assert model.item_counts.tolist() == [0, 0, 2, 1, 0, 0, 0, 0]


def test_without_times_there_is_no_recent_popularity() -> None:
    with pytest.raises(DataError) as error:
        RecentPopularity.fit(interactions([(0, 0)], 1, 1))
    assert str(error.value) == (
        "column 'timestamp': the baseline 'recent_popularity' needs a timestamp for each "
        "interaction, but the data has none. Fix: name the timestamp column with [data.columns] "
        "timestamp, or leave this baseline out."
    )
