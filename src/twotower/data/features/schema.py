"""The fitted features of the three sides, and how they are kept on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from twotower.config import FeaturesConfig, IdFeatureConfig
from twotower.config.feature_type import SIDES, Feature, SavedFeature, Side
from twotower.data.columns import EVENT_TYPE, ID_FEATURE, ITEM_ID, TIMESTAMP, USER_ID
from twotower.data.features.histories import HistoryFeature
from twotower.data.features.id import FittedFeature, IdFeature
from twotower.data.features.vocabulary import Vocabulary
from twotower.errors import DataError, explain, nearest
from twotower.html import table as html_table

__all__ = ["SIDES", "Schema", "Side", "check_side", "side_column"]


@dataclass(frozen=True)
class Schema:
    """What training knows of users, items and contexts.

    Attributes:
        config: the declarations that it was fitted from, with the units and formats of times that
            were recognised.
        users: vocabulary of the user ids of the training part.
        items: vocabulary of the item ids of the training part.
        features: side -> name -> fitted feature, in the order in which towers concatenate them.
        history: what the query tower knows of histories; None where none is declared.
    """

    config: FeaturesConfig
    users: Vocabulary
    items: Vocabulary
    features: Mapping[Side, Mapping[str, FittedFeature]]
    history: HistoryFeature | None = None

    @staticmethod
    def fit(
        config: FeaturesConfig,
        *,
        interactions: pl.DataFrame,
        users: pl.DataFrame | None,
        items: pl.DataFrame | None,
        files: Mapping[Side, str | None] | None = None,
    ) -> Schema:
        """Fit on the training part: rows of the users and items tables that training does not
        contain are checked for their type and not looked at otherwise.

        Args:
            interactions: the training part, with our column names.
            users: the users file, with `user_id`; None where there is none.
            items: the items file, with `item_id`.
            files: side -> name of the side's file, for errors.

        Raises:
            DataError: a declared column is missing, or its values do not fit its type.
        """
        user_vocabulary = _id_vocabulary(config, "user", interactions[USER_ID])
        item_vocabulary = _id_vocabulary(config, "item", interactions[ITEM_ID])
        files = files or {}
        config = check_side(config, "user", users, file=files.get("user"))
        config = check_side(config, "item", items, file=files.get("item"))
        seen_users = _seen(users, USER_ID, user_vocabulary)
        seen_items = _seen(items, ITEM_ID, item_vocabulary)
        features: dict[Side, dict[str, FittedFeature]] = {
            "user": _fit_side(config, "user", seen_users, user_vocabulary, USER_ID),
            "item": _fit_side(config, "item", seen_items, item_vocabulary, ITEM_ID),
            "context": _fit_side(config, "context", interactions, None, ""),
        }
        history = _fit_history(config, interactions)
        return Schema(config, user_vocabulary, item_vocabulary, features, history)

    def __repr__(self) -> str:
        sides = []
        for side in SIDES:
            kinds = self._feature_types(side).items()
            named = [name if name == kind else f"{name} ({kind})" for name, kind in kinds]
            sides += [f"{side}: {', '.join(named)}"] if named else []
        return f"Schema({len(self.users):,} users, {len(self.items):,} items; {'; '.join(sides)})"

    def _repr_html_(self) -> str:
        rows = [
            [side, name, kind] for side in SIDES for name, kind in self._feature_types(side).items()
        ]
        caption = f"{len(self.users):,} users and {len(self.items):,} items in training"
        return html_table(caption, ["side", "feature", "type"], rows)

    def _feature_types(self, side: Side) -> dict[str, str]:
        """The features of a side, and their types as a config names them."""
        types = {name: entry.type for name, entry in self.config.enabled(side).items()}
        if side == "user" and self.config.history is not None:
            types["history"] = f"history, {self.config.history.encoder}"
        return types

    def vocabulary(self, side: Literal["user", "item"]) -> Vocabulary:
        """The id vocabulary of a side; it exists whether or not the id is a feature."""
        return self.users if side == "user" else self.items

    def columns(self, side: Side) -> dict[str, Feature]:
        """The features of a side that are read from columns of its table: all but the id."""
        return {
            name: feature
            for name, feature in self.features[side].items()
            if isinstance(feature, Feature)
        }

    def save(self, folder: Path) -> None:
        """Write `schema.json`, one Arrow file a vocabulary and one .npy file an array into
        `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.users.save(folder / "user_id.arrow")
        self.items.save(folder / "item_id.arrow")
        states: dict[str, dict[str, Mapping[str, Any]]] = {}
        for side in SIDES:
            saved = {name: feature.save() for name, feature in self.features[side].items()}
            states[side] = {name: kept.state for name, kept in saved.items()}
            for place, kept in enumerate(saved.values()):
                write_saved(kept, folder, side, place)
        document = {
            "config": self.config.model_dump(mode="json"),
            "num_oov": {"user": self.users.num_oov, "item": self.items.num_oov},
            "states": states,
            "has_times": self.history is not None and self.history.has_times,
        }
        if self.history is not None and self.history.event_types is not None:
            self.history.event_types.save(folder / _EVENT_TYPES)
        (folder / "schema.json").write_text(json.dumps(document, indent=1), encoding="utf-8")

    @staticmethod
    def load(folder: Path) -> Schema:
        """Read what `save` wrote."""
        document = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
        config = FeaturesConfig.model_validate(document["config"])
        users = Vocabulary.load(folder / "user_id.arrow", num_oov=document["num_oov"]["user"])
        items = Vocabulary.load(folder / "item_id.arrow", num_oov=document["num_oov"]["item"])
        ids = {
            "user": IdFeature(ID_FEATURE, config.id_of("user"), USER_ID, users),
            "item": IdFeature(ID_FEATURE, config.id_of("item"), ITEM_ID, items),
        }
        features: dict[Side, dict[str, FittedFeature]] = {}
        for side in SIDES:
            columns, features[side] = config.columns(side), {}
            for place, (name, state) in enumerate(document["states"][side].items()):
                features[side][name] = (
                    columns[name].load(name, read_saved(state, folder, side, place))
                    if name in columns
                    else ids[side]
                )
        history = None
        if config.history is not None:
            file = folder / _EVENT_TYPES
            types = Vocabulary.load(file, num_oov=1) if file.exists() else None
            history = HistoryFeature(config.history, types, document["has_times"])
        return Schema(config, users, items, features, history)


_EVENT_TYPES = "event_types.arrow"


def write_saved(saved: SavedFeature, folder: Path, side: Side, place: int) -> None:
    """Write the arrays and the values of a feature; the files are named by place, as a feature's
    name is the user's text and not a file name.

    Raises:
        ValueError: an array's name is not an identifier.
    """
    if saved.values is not None:
        saved.values.alias("value").to_frame().write_ipc(folder / f"{side}_{place}.arrow")
    for key, array in saved.arrays.items():
        if not key.isidentifier():
            raise ValueError(f"a feature's array must be named by an identifier, not {key!r}")
        np.save(folder / f"{side}_{place}.{key}.npy", array, allow_pickle=False)


def read_saved(state: Mapping[str, Any], folder: Path, side: Side, place: int) -> SavedFeature:
    """Read what `write_saved` wrote."""
    values = folder / f"{side}_{place}.arrow"
    return SavedFeature(
        state,
        {
            file.suffixes[0][1:]: np.load(file, allow_pickle=False)
            for file in folder.glob(f"{side}_{place}.*.npy")
        },
        pl.read_ipc(values.read_bytes())["value"] if values.exists() else None,
    )


def _id_vocabulary(
    config: FeaturesConfig, side: Literal["user", "item"], column: pl.Series
) -> Vocabulary:
    return Vocabulary.build(column, num_oov=config.id_of(side).num_oov)


def _fit_history(config: FeaturesConfig, interactions: pl.DataFrame) -> HistoryFeature | None:
    declared = config.history
    if declared is None:
        return None
    types = None
    if declared.event_types and EVENT_TYPE in interactions.columns:
        types = Vocabulary.build(interactions[EVENT_TYPE], num_oov=1)
    has_times = TIMESTAMP in interactions.columns and not interactions[TIMESTAMP].has_nulls()
    return HistoryFeature(declared, types, has_times)


def _seen(table: pl.DataFrame | None, key: str, vocabulary: Vocabulary) -> pl.DataFrame | None:
    """The rows of what training saw, and one without values if it saw something that has no row:
    the values of that are missing in training."""
    if table is None:
        return None
    nums = vocabulary.encode(table[key])
    seen = table.filter(pl.Series(nums >= vocabulary.first_known))
    return pl.concat([seen, seen.clear(1)]) if len(seen) < len(vocabulary) else seen


def _fit_side(
    config: FeaturesConfig,
    side: Side,
    table: pl.DataFrame | None,
    ids: Vocabulary | None,
    key: str,
) -> dict[str, FittedFeature]:
    fitted: dict[str, FittedFeature] = {}
    for name, declared in config.enabled(side).items():
        if isinstance(declared, IdFeatureConfig):
            assert ids is not None
            fitted[name] = IdFeature(name, declared, key, ids)
        else:
            column = side_column(table, side, name, declared.column or name)
            fitted[name] = declared.fit(name, column)
    return fitted


def check_side(
    config: FeaturesConfig,
    side: Side,
    table: pl.DataFrame | None,
    *,
    file: str | None = None,
    rows: bool = True,
) -> FeaturesConfig:
    """Check that the table of a side has the declared columns and all their values are of their
    type.

    Args:
        config: the declarations.
        side: which of them.
        table: the side's table, or None.
        file: where it is from, for errors.
        rows: whether the table's rows are the file's, so that errors may name them.

    Returns:
        The declarations, with the units and formats of times that were recognised.

    Raises:
        DataError: a column is missing, or a value is not of its type.
    """
    found = {}
    for name, declared in config.columns(side).items():
        column = side_column(table, side, name, declared.column or name)
        keys = f"features.{side}.{name}."
        found[name] = declared.check(column, file=file, rows=rows, keys=keys)
    return config.model_copy(update={side: getattr(config, side) | found})


def side_column(table: pl.DataFrame | None, side: Side, name: str, column: str) -> pl.Series:
    """The column of a declared feature.

    Raises:
        DataError: the side has no table, or the table has no such column.
    """
    where = {"user": "users", "item": "items", "context": "interactions"}[side]
    if table is None:
        raise DataError(
            explain(
                f"features.{side}.{name} needs a {where} table, and none is given",
                fix=f"set data.{where}, or remove the feature",
            )
        )
    if column not in table.columns:
        raise DataError(
            explain(
                f"the {where} table has no such column{nearest(column, table.columns)}",
                column=column,
                fix=f"set features.{side}.{name}.column to one of: {', '.join(table.columns)}",
            )
        )
    return table[column]
