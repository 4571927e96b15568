"""From the text of a `twotower.toml` to a checked `Config`."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from twotower.config.features import (
    FEATURE_MODELS,
    FeaturesConfig,
    ImageConfig,
    TextConfig,
    VectorConfig,
)
from twotower.config.presets import fill, problem_of
from twotower.config.renamed import old_keys
from twotower.config.sections import Config, DataConfig
from twotower.errors import ConfigError, explain, nearest, unknown

LOG = logging.getLogger("twotower")


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
    """A checked config from a parsed document, with the values of its preset filled in. Keys of the
    previous version are accepted with a warning.

    Raises:
        ConfigError: lists every problem, an unknown key with the nearest known one.
    """
    for old, new in old_keys(document).items():
        text = f"the key {old} is now called {new}; the old name will not work in the next version"
        LOG.warning(explain(text, file=file, fix=f"rename it to {new}"))
    problems = [] if (problem := problem_of(document)) is None else [problem]
    try:
        config = Config.model_validate(fill(document))
    except ValidationError as error:
        problems += [_word(problem) for problem in error.errors()]
    if problems:
        raise ConfigError("\n".join(explain(text, file=file) for text in problems))
    return config


def absolute_paths(data: DataConfig, base: Path) -> DataConfig:
    """The same section with relative paths resolved against `base`."""

    def absolute(source: str | None) -> str | None:
        if source is None:
            return source
        scheme, has_scheme, rest = source.partition(":///")
        if has_scheme and scheme == "sqlite":
            return f"sqlite:///{base / rest}"
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
    """The same section with relative files and folders resolved against `base`. Images without a
    folder get that of their side's file. An encoder is a folder if one exists, else a model
    name."""
    changed: dict[str, dict[str, Any]] = {}
    for side, source in (
        ("user", data.interactions if data.users_from_interactions else data.users),
        ("item", data.interactions if data.items_from_interactions else data.items),
        ("context", data.interactions),
    ):
        changed[side] = {}
        for name, feature in getattr(features, side).items():
            update: dict[str, Any] = {}
            content = isinstance(feature, TextConfig | ImageConfig)
            encoder = feature.encoder if content else None
            if encoder not in (None, "bag", "cnn") and (base / encoder).is_dir():
                update["encoder"] = str(base / encoder)
            if isinstance(feature, VectorConfig) and feature.file is not None:
                update["file"] = str(base / feature.file)
            if isinstance(feature, ImageConfig):
                folder = base / feature.folder if feature.folder else _folder_of(source, base)
                update["folder"] = str(folder)
            changed[side][name] = feature.model_copy(update=update)
    return features.model_copy(update=changed)


def _folder_of(source: str | None, base: Path) -> Path:
    """The folder of a table's file; `base` for a database or if there is no table."""
    if source is None or "://" in source:
        return base
    return Path(source) if Path(source).is_dir() else Path(source).parent


def _word(problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    if location[0:1] == ["features"] and len(location) > _TAG_PLACE:
        del location[_TAG_PLACE]  # pydantic names the branch of the union, the file does not
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}{nearest(location[-1], _siblings(problem['loc']))}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    if problem["type"] == "union_tag_not_found":
        kinds = sorted(FEATURE_MODELS.keys() - {"id", "history"})
        return f"{key} needs a 'type': {', '.join(kinds)}"
    if problem["type"] == "union_tag_invalid":
        kinds = sorted(FEATURE_MODELS.keys() - {"id", "history"})
        tag = problem["ctx"]["tag"]
        return unknown(f"{key}.type: there is no feature type {tag!r}", tag, kinds)
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{key}: {message} (found {problem['input']!r})" if key else message


def _siblings(location: Sequence[Any]) -> list[str]:
    """The keys that the section at `location[:-1]` knows."""
    if location[0] == "features" and len(location) > _TAG_PLACE:
        return list(FEATURE_MODELS[location[_TAG_PLACE]].model_fields)
    model: type[BaseModel] = Config
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


_TAG_PLACE = 3
"""Where pydantic puts the union's tag: features, side, name, tag."""
