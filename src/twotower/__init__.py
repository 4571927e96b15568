"""Deep retrieval for recommender systems: from a table of interactions to recommendations.

    import twotower as tt

    data = tt.Dataset.from_frames(interactions, users, items, features=...)
    train, validation, test = data.split()
    model = tt.fit(tt.TwoTower(schema=data.schema), train, validation)
    recommender = tt.Recommender.build(model, train, data.config)
    tt.evaluate(recommender, test)
    recommender.recommend(["u42"], k=10)

Public names are listed in three places here, each group in the same order: the imports for type
checkers, `__all__`, and `_HOMES`. A test compares them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from twotower._version import __version__

if TYPE_CHECKING:
    # data and models
    from twotower.config import (
        Config,
        EvaluationConfig,
        RankerConfig,
        RetrieverConfig,
        TrainingConfig,
        load_config,
    )
    from twotower.config.feature_type import (
        Feature,
        FeatureConfig,
        FeatureDescription,
        SavedFeature,
        register_feature,
    )
    from twotower.data.dataset.dataset import Dataset
    from twotower.errors import (
        BundleError,
        ConfigError,
        DataError,
        TrainingError,
        TwoTowerError,
    )
    from twotower.models.layers.feature_encoder import FeatureEncoder
    from twotower.models.layers.history.base import SequenceEncoder, register_history_encoder
    from twotower.models.layers.history.view import HistoryView
    from twotower.models.ranker.ncf import NeuralCF
    from twotower.models.retriever.losses.base import Loss, LossInputs, register_loss
    from twotower.models.retriever.towers.base import Tower, TowerSpec, register_tower
    from twotower.models.retriever.two_tower import TwoTower
    from twotower.serving.answer.recommender import Recommender
    from twotower.training.callbacks import Callback, CallbackError, LearningCurve
    from twotower.workflow.comparison.compare import compare
    from twotower.workflow.evaluate import evaluate
    from twotower.workflow.setup.guess_features import guess_features
    from twotower.workflow.training.fit import fit, fit_blend
    from twotower.workflow.tuning.tune import tune

__all__ = [  # noqa: RUF022 - in groups
    # data and models
    "Callback",
    "CallbackError",
    "Config",
    "Dataset",
    "EvaluationConfig",
    "LearningCurve",
    "NeuralCF",
    "RankerConfig",
    "Recommender",
    "RetrieverConfig",
    "TrainingConfig",
    "TwoTower",
    "compare",
    "evaluate",
    "fit",
    "fit_blend",
    "guess_features",
    "load_config",
    "tune",
    # errors
    "BundleError",
    "ConfigError",
    "DataError",
    "TrainingError",
    "TwoTowerError",
    # parts of your own: docs/extending.md
    "Feature",
    "FeatureConfig",
    "FeatureDescription",
    "FeatureEncoder",
    "HistoryView",
    "Loss",
    "LossInputs",
    "SavedFeature",
    "SequenceEncoder",
    "Tower",
    "TowerSpec",
    "register_feature",
    "register_history_encoder",
    "register_loss",
    "register_tower",
    "__version__",
]

_HOMES = {
    # data and models
    "Callback": "twotower.training.callbacks",
    "CallbackError": "twotower.training.callbacks",
    "Config": "twotower.config",
    "Dataset": "twotower.data.dataset.dataset",
    "EvaluationConfig": "twotower.config",
    "LearningCurve": "twotower.training.callbacks",
    "NeuralCF": "twotower.models.ranker.ncf",
    "RankerConfig": "twotower.config",
    "Recommender": "twotower.serving.answer.recommender",
    "RetrieverConfig": "twotower.config",
    "TrainingConfig": "twotower.config",
    "TwoTower": "twotower.models.retriever.two_tower",
    "compare": "twotower.workflow.comparison.compare",
    "evaluate": "twotower.workflow.evaluate",
    "fit": "twotower.workflow.training.fit",
    "fit_blend": "twotower.workflow.training.fit",
    "guess_features": "twotower.workflow.setup.guess_features",
    "load_config": "twotower.config",
    "tune": "twotower.workflow.tuning.tune",
    # errors
    "BundleError": "twotower.errors",
    "ConfigError": "twotower.errors",
    "DataError": "twotower.errors",
    "TrainingError": "twotower.errors",
    "TwoTowerError": "twotower.errors",
    # parts of your own: docs/extending.md
    "Feature": "twotower.config.feature_type",
    "FeatureConfig": "twotower.config.feature_type",
    "FeatureDescription": "twotower.config.feature_type",
    "FeatureEncoder": "twotower.models.layers.feature_encoder",
    "HistoryView": "twotower.models.layers.history.view",
    "Loss": "twotower.models.retriever.losses.base",
    "LossInputs": "twotower.models.retriever.losses.base",
    "SavedFeature": "twotower.config.feature_type",
    "SequenceEncoder": "twotower.models.layers.history.base",
    "Tower": "twotower.models.retriever.towers.base",
    "TowerSpec": "twotower.models.retriever.towers.base",
    "register_feature": "twotower.config.feature_type",
    "register_history_encoder": "twotower.models.layers.history.base",
    "register_loss": "twotower.models.retriever.losses.base",
    "register_tower": "twotower.models.retriever.towers.base",
}
"""Public name -> the module that defines it."""


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that `import twotower` is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'twotower' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, for `dir(twotower)` and tab completion."""
    return sorted(__all__)
