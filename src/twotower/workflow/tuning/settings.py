"""Settings: config keys with the values that a trial gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from twotower.config import Config
from twotower.config.baselines import SearchChoice, SearchRange
from twotower.data.dataset.dataset import Dataset

Value = float | int | str | bool
Settings = Mapping[str, Value]
"""Config key, `section.key` or deeper -> value; those that are not named keep theirs."""
Space = Mapping[str, SearchRange | SearchChoice]
"""Config key -> range or choices to search."""


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """The config with some keys replaced, each named `section.key` or deeper.

    Raises:
        ValidationError: a value is not allowed.
    """
    document = config.model_dump()
    for name, value in settings.items():
        *sections, last = name.split(".")
        table = document
        for section in sections:
            table = table[section]
        table[last] = value
    return Config.model_validate(document)


def value_at(config: Config, name: str) -> Value | None:
    """The value of a config key, named as in `with_settings`."""
    found: Any = config.model_dump()
    for part in name.split("."):
        found = found[part]
    value: Value | None = found
    return value


def with_config(dataset: Dataset, config: Config) -> Dataset:
    """The same rows, encoded by another config."""
    if config.features == dataset.config.features:
        return replace(dataset, config=config)
    return Dataset.from_parts(config, dataset.tables, dataset.parts)


def has_features(config: Config) -> bool:
    """Whether a tower has features other than ids."""
    return not config.features.has_ids_alone
