"""Baselines on user and item ids alone, which a two-tower model has to beat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twotower.data.dataset.entities import EntityTable
from twotower.errors import BundleError, explain, unknown
from twotower.models.baselines import storage
from twotower.models.baselines.base import Baseline
from twotower.models.baselines.bpr_mf import BPRMF
from twotower.models.baselines.ease import EASE
from twotower.models.baselines.ials import IALS
from twotower.models.baselines.item_knn import ItemKNN
from twotower.models.baselines.logistic_mf import LogisticMF
from twotower.models.baselines.popularity import MostPopular, RecentPopularity
from twotower.models.baselines.svd import SVD

__all__ = [
    "BASELINES",
    "BPRMF",
    "EASE",
    "IALS",
    "SVD",
    "Baseline",
    "ItemKNN",
    "LogisticMF",
    "MostPopular",
    "RecentPopularity",
    "load_baseline",
]

BASELINES: dict[str, type[Baseline[Any]]] = {
    model.name: model
    for model in (MostPopular, RecentPopularity, ItemKNN, EASE, IALS, BPRMF, LogisticMF, SVD)
}
"""Name -> class."""


def load_baseline(folder: Path, users: EntityTable, items: EntityTable) -> Baseline[Any]:
    """Read the baseline in a folder, of any kind.

    Raises:
        BundleError: see `Baseline.load`.
    """
    name = storage.read_description(folder)["name"]
    if name not in BASELINES:
        problem = unknown(f"there is no baseline {name!r}", name, BASELINES)
        raise BundleError(explain(problem, file=folder / storage.DESCRIPTION_FILE))
    return BASELINES[name].load(folder, users, items)
