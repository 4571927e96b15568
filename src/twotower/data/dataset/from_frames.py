"""The config of tables in memory: their names stand where a file's config has paths."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from twotower.config import Config, DataConfig, FeaturesConfig, TableName, parse_config
from twotower.config.loading import absolute_features
from twotower.config.section import Section
from twotower.data.tables.frames import frame_name
from twotower.errors import ConfigError, explain, nearest

SOURCES: Final = frozenset({"interactions", "users", "items"})


def config_of_frames(
    given: Collection[TableName],
    features: FeaturesConfig | Mapping[str, Any] | None,
    columns: Mapping[str, str] | None,
    settings: Mapping[str, Any],
) -> Config:
    """A whole config for the tables `given`.

    Args:
        given: which tables there are.
        features: `[features]`; None: ids alone. Files that they name are relative to the working
            directory.
        columns: `[data.columns]`.
        settings: further keys of `[data]`, and sections.

    Raises:
        ConfigError: a setting is unknown, has a wrong value, or needs another one.
    """
    data: dict[str, Any] = {name: frame_name(name) for name in given if name in SOURCES}
    sections: dict[str, Any] = {}
    for name, value in settings.items():
        if name in DataConfig.model_fields:
            data[name] = value
        elif name in Config.model_fields and name != "data":
            sections[name] = value
        else:
            known = [*DataConfig.model_fields, *Config.model_fields]
            problem = f"unknown setting {name!r}{nearest(name, known)}"
            fix = "name a key of [data] or a section of the config"
            raise ConfigError(explain(problem, fix=fix))
    if "test" in given or "validation" in given:
        data["split"] = given_split(given, data.get("split"))
    if columns is not None:
        data["columns"] = dict(columns)
    if features is not None:
        sections["features"] = features
    config = parse_config({"data": plain(data), **plain(sections)})
    folder = Path.cwd()
    nowhere = config.data.model_copy(update=dict.fromkeys(("users", "items")))
    features = absolute_features(config.features, nowhere, folder)
    return config.model_copy(update={"features": features})


def plain(section: Mapping[str, Any]) -> dict[str, Any]:
    """A section with the values of those within it that were set, as a file would have them: a
    preset fills in the others."""
    return {
        name: value.model_dump(exclude_unset=True) if isinstance(value, Section) else value
        for name, value in section.items()
    }


def given_split(given: Collection[TableName], split: Any) -> dict[str, Any]:
    """`[data.split]` for parts that are given."""
    settings = plain({"split": split or {}})["split"]
    if "test" not in given:
        raise ConfigError(
            explain(
                "'validation' is given without 'test'",
                fix="give a test frame, too, or give neither, so that both are cut from the "
                "interactions",
            )
        )
    parts = {name: frame_name(name) for name in ("test", "validation") if name in given}
    return {**settings, **parts}
