"""Everything that a `twotower.toml` can say, as frozen models; unknown keys are errors.

Relative paths in a config are relative to the config file. `load_config` makes them absolute.
"""

from twotower.config.features import (
    CategoriesConfig,
    CategoryConfig,
    ColumnFeatureConfig,
    ContextFeatureConfig,
    FeatureConfig,
    FeaturesConfig,
    HistoryConfig,
    IdFeatureConfig,
    NumberConfig,
    TimestampConfig,
)
from twotower.config.loading import apply_override, load_config, parse_config
from twotower.config.sections import (
    ColumnsConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    IndexConfig,
    PositiveConfig,
    RetrieverConfig,
    SplitConfig,
    SplitMethod,
    TrainingConfig,
)

__all__ = [
    "CategoriesConfig",
    "CategoryConfig",
    "ColumnFeatureConfig",
    "ColumnsConfig",
    "Config",
    "ContextFeatureConfig",
    "DataConfig",
    "EvaluationConfig",
    "FeatureConfig",
    "FeaturesConfig",
    "HistoryConfig",
    "IdFeatureConfig",
    "IndexConfig",
    "NumberConfig",
    "PositiveConfig",
    "RetrieverConfig",
    "SplitConfig",
    "SplitMethod",
    "TimestampConfig",
    "TrainingConfig",
    "apply_override",
    "load_config",
    "parse_config",
]
