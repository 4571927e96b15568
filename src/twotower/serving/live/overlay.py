"""Items that were added, changed or removed at run time, as one version of the model sees them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config import IdFeatureConfig, ImageConfig
from twotower.data.cells import check_column
from twotower.data.columns import ID_FEATURE, ITEM_ID
from twotower.data.entities import Features, encode_rows
from twotower.data.schema import Schema, Side
from twotower.errors import DataError, explain, unknown
from twotower.models.two_tower import TwoTower
from twotower.serving.events.base import Id, ItemChange

Columns = Mapping[str, Any]


@dataclass(frozen=True)
class OverlayItem:
    """An item that was added or changed.

    Attributes:
        num: that of the bundle's item of this id, or one behind all of the bundle's.
        item_id: in the type of the catalogue.
        columns: as they are shown.
        given: as they were sent, pictures too.
        state: (D,) what histories read of it.
        vector: (D,) or None for an item of which the item tower reads nothing.
    """

    num: int
    item_id: Id
    columns: Columns
    given: Columns
    state: Tensor
    vector: NDArray[np.float32] | None


@dataclass(frozen=True)
class Overlay:
    """A state of the overlay; a change makes another one.

    Attributes:
        items: by num, ascending.
        removed: item nums of the bundle that were removed.
        next_num: the num that the next new item gets; nums are never given twice.
    """

    items: Mapping[int, OverlayItem]
    removed: frozenset[int]
    next_num: int

    @cached_property
    def nums(self) -> NDArray[np.int64]:
        """(A,) of the items, ascending."""
        return np.array(list(self.items), dtype=np.int64)

    @cached_property
    def states(self) -> Tensor:
        """(A, D)."""
        return torch.stack([item.state for item in self.items.values()])

    @cached_property
    def with_vector(self) -> NDArray[np.int64]:
        """Nums of the items that have a vector, ascending."""
        nums = [num for num, item in self.items.items() if item.vector is not None]
        return np.array(nums, dtype=np.int64)

    @cached_property
    def hidden(self) -> NDArray[np.int64]:
        """Nums that the bundle's own index must not answer."""
        return np.array(sorted({*self.removed, *self.items}), dtype=np.int64)

    def changed(
        self, items: Iterable[OverlayItem], removed: Iterable[int], next_num: int
    ) -> Overlay:
        """Another state: some items put, some nums removed."""
        kept, gone = dict(self.items), set(self.removed)
        for item in items:
            kept[item.num] = item
            gone.discard(item.num)
        for num in removed:
            kept.pop(num, None)
            gone.add(num)
        ordered = {num: kept[num] for num in sorted(kept)}
        return Overlay(ordered, frozenset(gone), next_num)


class ItemEncoder:
    """Encodes single items as the bundle's were."""

    def __init__(self, model: TwoTower, schema: Schema, catalogue: Sequence[str]) -> None:
        """Take what encodes.

        Args:
            model: its item tower is run.
            schema: of the bundle.
            catalogue: names of the columns of the items file.
        """
        self._model = model
        self._schema = schema
        features = schema.features["item"]
        self._read = {f.column: f for name, f in features.items() if name != ID_FEATURE}
        self._pictures = {f.column for f in features.values() if isinstance(f.config, ImageConfig)}
        self.columns = [
            name for name in dict.fromkeys([*catalogue, *self._read]) if name != ITEM_ID
        ]

    def shown(self, columns: Columns) -> Columns:
        """The columns that answers show: no pictures."""
        return {name: value for name, value in columns.items() if name not in self._pictures}

    def readable(self, columns: Columns) -> Columns:
        """The columns that this version has."""
        return {name: value for name, value in columns.items() if name in self.columns}

    def check(self, changes: Sequence[ItemChange]) -> None:
        """Refuse items that cannot be encoded.

        Raises:
            DataError: names row, column, value and fix.
        """
        for row, change in enumerate(changes, start=1):
            for name in change.columns or {}:
                if name not in self.columns:
                    raise DataError(
                        explain(
                            unknown("the items have no such column", name, self.columns),
                            row=row,
                            column=name,
                        )
                    )
        self.encode([change for change in changes if change.columns is not None])

    def overlay_items(self, put: Mapping[int, ItemChange]) -> list[OverlayItem]:
        """Items by num, encoded; those that cannot be are left out."""
        try:
            encoded = self.encode(list(put.values()))
        except DataError:
            if len(put) == 1:
                return []
            alone = [self.overlay_items({num: change}) for num, change in put.items()]
            return [item for items in alone for item in items]
        return [
            OverlayItem(
                num, change.item_id, self.shown(change.columns or {}), change.columns or {}, *parts
            )
            for (num, change), parts in zip(put.items(), encoded, strict=True)
        ]

    def encode(
        self, changes: Sequence[ItemChange]
    ) -> list[tuple[Tensor, NDArray[np.float32] | None]]:
        """The state of each item, and its vector where it has one.

        Raises:
            DataError: a value is not of its feature's type.
        """
        if not changes:
            return []
        frame = self._frame([(change.item_id, change.columns or {}) for change in changes])
        with torch.no_grad():
            rows = encode_rows(self._schema, "item", frame)
            states = self._model.item_states(rows)
            vectors = self._model.item_vectors(rows, states).numpy()
        known = np.zeros(len(frame), dtype=np.bool_)
        for name in self._read:
            known |= frame[name].is_not_null().to_numpy()
        if ID_FEATURE in self._schema.features["item"]:
            vocabulary = self._schema.items
            known |= vocabulary.encode(frame[ITEM_ID]) >= vocabulary.first_known
        return [
            (state, vector if there else None)
            for state, vector, there in zip(states, vectors, known, strict=True)
        ]

    def features(self, items: Iterable[OverlayItem]) -> Features:
        """name -> (A, ...) encoded features of items of the overlay."""
        frame = self._frame([(item.item_id, item.given) for item in items])
        return encode_rows(self._schema, "item", frame)

    def _frame(self, items: Sequence[tuple[Id, Columns]]) -> pl.DataFrame:
        """Ids and columns of items as the columns that the item features read."""
        cells: dict[str, list[Any]] = {ITEM_ID: [item_id for item_id, _ in items]}
        cells |= {name: [columns.get(name) for _, columns in items] for name in self._read}
        return to_frame(cells, self._schema, "item")


def to_frame(cells: Mapping[str, list[Any]], schema: Schema, side: Side) -> pl.DataFrame:
    """Values of a request as the columns that features are encoded from.

    Pictures come as base64: a path would have the server read its own files.

    Raises:
        DataError: values that no column can hold together, or of a type that a feature cannot read.
    """
    pictures = {
        f.column for f in schema.features[side].values() if isinstance(f.config, ImageConfig)
    }
    series = []
    for name, values in cells.items():
        given = [_picture(value, name) for value in values] if name in pictures else values
        try:
            series.append(pl.Series(name, given, strict=True))
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
            series.append(_mixed(name, given))
    frame = pl.DataFrame(series)
    for feature_name, feature in schema.features[side].items():
        if feature_name != ID_FEATURE and not isinstance(feature.config, IdFeatureConfig):
            check_column(feature.config, frame[feature.column])
    return frame


def _mixed(name: str, values: list[Any]) -> pl.Series:
    """Numbers of both kinds as floats, numbers and text as text.

    Raises:
        DataError: they are neither.
    """
    plain = [value for value in values if value is not None]
    if all(isinstance(value, int | float) for value in plain):
        return pl.Series(name, [None if v is None else float(v) for v in values], pl.Float64)
    if all(isinstance(value, int | float | str) for value in plain):
        return pl.Series(name, [None if v is None else str(v) for v in values], pl.String)
    raise DataError(
        explain(
            "holds values of several types",
            column=name,
            fix="send plain values, or lists of values of one type",
        )
    )


def _picture(value: Any, name: str) -> bytes | None:
    if value is None:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise DataError(
            explain(
                "is declared an image, and the service takes pictures as base64",
                column=name,
                value=value,
                fix="send the bytes of the file, encoded as base64",
            )
        ) from None
