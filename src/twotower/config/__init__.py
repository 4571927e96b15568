"""The config file `twotower.toml` as frozen models; unknown keys are errors.

Relative paths in a config are relative to the config file. `load_config` makes them absolute.
"""

from twotower.config.compare import CompareConfig
from twotower.config.feature_type import FeatureConfig
from twotower.config.features import FeaturesConfig, HistoryConfig, IdFeatureConfig, TimeUnit
from twotower.config.index import VECTOR_DATABASES, IndexConfig
from twotower.config.loading import WITH_PATHS, apply_override, load_config, parse_config
from twotower.config.ranker import RankerConfig
from twotower.config.sections import (
    ColumnsConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    FormatConfig,
    FormatsConfig,
    PositiveConfig,
    RetrieverConfig,
    SplitConfig,
    SplitMethod,
    TableName,
    TrainingConfig,
)
from twotower.config.tune import SpaceRange, TuneConfig

__all__ = [
    "VECTOR_DATABASES",
    "WITH_PATHS",
    "ColumnsConfig",
    "CompareConfig",
    "Config",
    "DataConfig",
    "EvaluationConfig",
    "FeatureConfig",
    "FeaturesConfig",
    "FormatConfig",
    "FormatsConfig",
    "HistoryConfig",
    "IdFeatureConfig",
    "IndexConfig",
    "PositiveConfig",
    "RankerConfig",
    "RetrieverConfig",
    "SpaceRange",
    "SplitConfig",
    "SplitMethod",
    "TableName",
    "TimeUnit",
    "TrainingConfig",
    "TuneConfig",
    "apply_override",
    "load_config",
    "parse_config",
]
