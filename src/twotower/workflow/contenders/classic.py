"""Baselines."""

from __future__ import annotations

from twotower.data.dataset import Dataset
from twotower.models.popularity import Popularity
from twotower.training.monitor import Monitor
from twotower.workflow.contenders.base import Contender, Learned, Shelf
from twotower.workflow.tuning import Settings


def popularity() -> Contender:
    """What most people took."""

    def train(dataset: Dataset, settings: Settings, monitor: Monitor, shelf: Shelf) -> Learned:
        del settings, monitor, shelf
        part = dataset.train
        return Learned(
            lambda histories: Popularity.fit(part, seen=histories.items), dataset.items.num_warm
        )

    return Contender(
        "popularity", "popularity", "popularity", "The same items for all, most taken first.", train
    )
