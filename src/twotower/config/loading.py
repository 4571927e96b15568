"""From the text of a `twotower.toml` to a checked `Config`."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from twotower.config.feature_type import Side
from twotower.config.features import FeaturesConfig, feature_section
from twotower.config.presets import fill, problem_of
from twotower.config.renamed import old_keys
from twotower.config.sections import Config, DataConfig
from twotower.errors import ConfigError, explain, nearest
from twotower.registry import load_plugins

LOG = logging.getLogger("twotower")
WITH_PATHS: Final = ("sqlite", "delta", "iceberg")
"""Schemes of URIs that name a path after three slashes."""


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a config file; `overrides` are `section.key=value` with TOML values.

    >>> tt.load_config("twotower.toml", ["training.epochs=5"]).training.epochs
    5

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown, or a value is not allowed.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            explain("no such config file", file=path, fix="`twotower init` writes one")
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(explain(f"cannot be read: {error}", file=path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(explain(f"is not valid TOML: {error}", file=path)) from None
    for override in overrides:
        apply_override(document, override)
    config = parse_config(document, file=path)
    base = path.resolve().parent
    data = absolute_paths(config.data, base)
    features = absolute_features(config.features, data, base)
    return config.model_copy(update={"data": data, "features": features})


def apply_override(document: dict[str, Any], override: str) -> None:
    """Set `section.key=value` in a document; a value that is not valid TOML is read as text."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            explain(
                "--set takes section.key=value",
                value=override,
                fix="for example --set training.epochs=20",
            )
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *sections, last = key.strip().split(".")
    table = document
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(explain(f"--set {key}: {section!r} is a value, not a section"))
    table[last] = value


def parse_config(document: Mapping[str, Any], *, file: str | Path | None = None) -> Config:
    """A checked config from a parsed document, with the values of its preset filled in.

    Its plug-ins are imported first. Keys of the previous version are accepted with a warning.

    Raises:
        ConfigError: lists every problem, an unknown key with the nearest known one.
    """
    plugins = document.get("plugins")
    if isinstance(plugins, list) and all(isinstance(module, str) for module in plugins):
        load_plugins(plugins)
    for old, new in old_keys(document).items():
        text = f"the key {old} is now called {new}; the old name will not work in the next version"
        LOG.warning(explain(text, file=file, fix=f"rename it to {new}"))
    problems = [] if (problem := problem_of(document)) is None else [problem]
    try:
        config = Config.model_validate(fill(document))
    except ValidationError as error:
        problems += [_word(problem, document) for problem in error.errors()]
    if problems:
        raise ConfigError("\n".join(explain(text, file=file) for text in problems))
    return config


def absolute_paths(data: DataConfig, base: Path) -> DataConfig:
    """The same section with relative paths resolved against `base`."""

    def absolute(source: str | None) -> str | None:
        if source is None:
            return source
        scheme, has_scheme, rest = source.partition(":///")
        if has_scheme and scheme in WITH_PATHS:
            return f"{scheme}:///{base / rest}"
        return source if "://" in source else str(base / source)

    split = data.split.model_copy(
        update={"test": absolute(data.split.test), "validation": absolute(data.split.validation)}
    )
    return data.model_copy(
        update={
            "interactions": absolute(data.interactions),
            "users": absolute(data.users),
            "items": absolute(data.items),
            "exported": absolute(data.exported),
            "exclude_users": absolute(data.exclude_users),
            "split": split,
        }
    )


def absolute_features(features: FeaturesConfig, data: DataConfig, base: Path) -> FeaturesConfig:
    """The same section with relative files and folders resolved against `base`, or against the
    folder of a side's file."""
    sources: dict[Side, str | None] = {
        "user": data.interactions if data.users_from_interactions else data.users,
        "item": data.interactions if data.items_from_interactions else data.items,
        "context": data.interactions,
    }
    return features.model_copy(
        update={
            side: getattr(features, side)
            | {
                name: feature.with_paths(base, _folder_of(source, base))
                for name, feature in features.columns(side).items()
            }
            for side, source in sources.items()
        }
    )


def _folder_of(source: str | None, base: Path) -> Path:
    """The folder of a table's file; `base` for a database or if there is no table."""
    if source is None or "://" in source:
        return base
    return Path(source) if Path(source).is_dir() else Path(source).parent


def _word(problem: Any, document: Mapping[str, Any]) -> str:
    location = problem["loc"]
    key = ".".join(str(part) for part in location)
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}{nearest(str(location[-1]), _siblings(location, document))}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    if problem["type"] == "feature_without_type":
        return f"{key} {message}"
    if problem["type"] == "unknown_feature_type":
        return f"{key}.type: {message}"
    return f"{key}: {message} (found {problem['input']!r})" if key else message


def _siblings(location: Sequence[Any], document: Mapping[str, Any]) -> list[str]:
    """The keys that the section at `location[:-1]` knows."""
    if location[0] == "features" and len(location) > _INSIDE_FEATURE:
        _, side, name, *_ = location
        declared = document["features"][side][name]
        section = feature_section(side, declared.get("type", name))
        return [] if section is None else list(section.model_fields)
    model: type[BaseModel] = Config
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


_INSIDE_FEATURE = 3
"""Parts of the place of a feature: `features`, side, name."""
