"""The config file `twotower.toml` as frozen models; unknown keys are errors.

Relative paths in a config are relative to the config file. `load_config` makes them absolute.
"""

from twotower.config.compare import CompareConfig
from twotower.config.features import (
    CategoriesConfig,
    CategoryConfig,
    ColumnFeatureConfig,
    ContextFeatureConfig,
    FeatureConfig,
    FeaturesConfig,
    HistoryConfig,
    IdFeatureConfig,
    ImageConfig,
    NumberConfig,
    TextConfig,
    TimestampConfig,
    TimeUnit,
    VectorConfig,
)
from twotower.config.loading import apply_override, load_config, parse_config
from twotower.config.ranker import RankerConfig
from twotower.config.sections import (
    ColumnsConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    FormatConfig,
    FormatsConfig,
    IndexConfig,
    PositiveConfig,
    RetrieverConfig,
    SplitConfig,
    SplitMethod,
    TableName,
    TrainingConfig,
)

__all__ = [
    "CategoriesConfig",
    "CategoryConfig",
    "ColumnFeatureConfig",
    "ColumnsConfig",
    "CompareConfig",
    "Config",
    "ContextFeatureConfig",
    "DataConfig",
    "EvaluationConfig",
    "FeatureConfig",
    "FeaturesConfig",
    "FormatConfig",
    "FormatsConfig",
    "HistoryConfig",
    "IdFeatureConfig",
    "ImageConfig",
    "IndexConfig",
    "NumberConfig",
    "PositiveConfig",
    "RankerConfig",
    "RetrieverConfig",
    "SplitConfig",
    "SplitMethod",
    "TableName",
    "TextConfig",
    "TimeUnit",
    "TimestampConfig",
    "TrainingConfig",
    "VectorConfig",
    "apply_override",
    "load_config",
    "parse_config",
]
