"""Deep retrieval for recommender systems: from a table of interactions to recommendations.

data = twotower.Dataset.read("twotower.toml")
train, validation, test = data.split()
model = twotower.TwoTower(data.config.retriever, data.schema)
model = twotower.fit(model, train, validation, config=data.config)
ranker = twotower.NeuralCF(data.config.ranker, data.schema)          # optional
ranker = twotower.fit(ranker, train, validation, config=data.config, retriever=model)
recommender = twotower.Recommender.build(model, train, data.config, ranker=ranker)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from twotower._version import __version__

if TYPE_CHECKING:
    from twotower.config import Config, load_config
    from twotower.data.dataset.dataset import Dataset
    from twotower.models.ranker.ncf import NeuralCF
    from twotower.models.retriever.two_tower import TwoTower
    from twotower.serving.answer.recommender import Recommender
    from twotower.workflow.comparison.compare import compare
    from twotower.workflow.evaluate import evaluate
    from twotower.workflow.training.fit import fit

__all__ = [
    "Config",
    "Dataset",
    "NeuralCF",
    "Recommender",
    "TwoTower",
    "__version__",
    "compare",
    "evaluate",
    "fit",
    "load_config",
]

_HOMES = {
    "Config": "twotower.config",
    "load_config": "twotower.config",
    "Dataset": "twotower.data.dataset.dataset",
    "NeuralCF": "twotower.models.ranker.ncf",
    "TwoTower": "twotower.models.retriever.two_tower",
    "Recommender": "twotower.serving.answer.recommender",
    "compare": "twotower.workflow.comparison.compare",
    "evaluate": "twotower.workflow.evaluate",
    "fit": "twotower.workflow.training.fit",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that `import twotower` is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'twotower' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
