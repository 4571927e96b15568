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

from twotower.config import (
    CategoriesConfig,
    CategoryConfig,
    ColumnFeatureConfig,
    IdFeatureConfig,
    ImageConfig,
    NumberConfig,
    TextConfig,
)
from twotower.data.columns import ID_FEATURE, ITEM_ID
from twotower.data.dataset.entities import Features, encode_rows
from twotower.data.features.cells import check_column
from twotower.data.features.column_types import as_kept, declared
from twotower.data.features.schema import Schema, Side
from twotower.data.values.numbers import to_numbers
from twotower.data.values.spelling import spell
from twotower.errors import DataError, explain, unknown
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.store.protocol import Id, ItemChange

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

    def __init__(self, model: TwoTower, schema: Schema, catalogue: pl.Schema) -> None:
        """Take what encodes.

        Args:
            model: its item tower is run.
            schema: of the bundle.
            catalogue: names and types of the columns that are shown.
        """
        self._model = model
        self._schema = schema
        self._catalogue = pl.Schema({n: kind for n, kind in catalogue.items() if n != ITEM_ID})
        self._declared = declared(schema.config.item)
        features = schema.features["item"]
        self._read = {f.column: f for name, f in features.items() if name != ID_FEATURE}
        self._pictures = {f.column for f in features.values() if isinstance(f.config, ImageConfig)}
        self.columns = [
            name for name in dict.fromkeys([*catalogue, *self._read]) if name != ITEM_ID
        ]

    def frame(self, changes: Sequence[Columns]) -> pl.DataFrame:
        """Columns of items as answers show them and filters read them, in the types of the
        catalogue: no pictures.

        Raises:
            DataError: a value does not fit the column.
        """
        names = [name for name in self._catalogue if name not in self._pictures]
        cells = {name: [columns.get(name) for columns in changes] for name in names}
        rows = pl.DataFrame(
            [
                to_series(name, values, self._declared.get(name, []))
                for name, values in cells.items()
            ]
        )
        return as_kept(rows, self._catalogue, self._declared)

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
        put = [change for change in changes if change.columns is not None]
        self.encode(put)
        self.frame([change.columns or {} for change in put])

    def overlay_items(self, put: Mapping[int, ItemChange]) -> list[OverlayItem]:
        """Items by num, encoded; those that cannot be are left out."""
        given = [change.columns or {} for change in put.values()]
        try:
            encoded = self.encode(list(put.values()))
            shown = self.frame(given).to_dicts() or [{}] * len(given)
        except DataError:
            if len(put) == 1:
                return []
            alone = [self.overlay_items({num: change}) for num, change in put.items()]
            return [item for items in alone for item in items]
        return [
            OverlayItem(
                num,
                change.item_id,
                {name: value for name, value in row.items() if name in columns},
                columns,
                *parts,
            )
            for (num, change), columns, row, parts in zip(
                put.items(), given, shown, encoded, strict=True
            )
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
    columns = declared(getattr(schema.config, side))
    frame = pl.DataFrame(
        [to_series(name, values, columns.get(name, [])) for name, values in cells.items()]
    )
    for feature_name, feature in schema.features[side].items():
        if feature_name != ID_FEATURE and not isinstance(feature.config, IdFeatureConfig):
            check_column(feature.config, frame[feature.column])
    return frame


def to_series(
    name: str, values: Sequence[Any], configs: Sequence[ColumnFeatureConfig] = ()
) -> pl.Series:
    """Values of requests as a column. What a value means does not depend on the others.

    Args:
        name: of the column.
        values: plain values or lists of them.
        configs: the features that read it.

    Raises:
        DataError: a picture is not base64, or plain values and lists stand beside each other.
    """
    kinds = {type(config) for config in configs}
    if ImageConfig in kinds:
        return pl.Series(name, [_picture(value, name) for value in values], pl.Binary)
    is_text = bool(kinds & {CategoryConfig, CategoriesConfig, TextConfig})
    try:
        if not is_text:
            return pl.Series(name, values, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        pass  # of several types
    lists = [isinstance(value, list) for value in values if value is not None]
    if any(lists) and not all(lists):
        raise DataError(
            explain(
                "holds lists and plain values",
                column=name,
                fix="send plain values, or lists of values",
            )
        )
    for config in configs:
        if isinstance(config, NumberConfig) and not is_text and not any(lists):
            return _numbers(name, values, config)
    if any(lists):
        texts = [None if v is None else [spell(part) for part in v] for v in values]
        return pl.Series(name, texts, pl.List(pl.String))
    return pl.Series(name, [spell(value) for value in values], pl.String)


def _numbers(name: str, values: Sequence[Any], config: NumberConfig) -> pl.Series:
    """Numbers and text that spells numbers, beside each other."""
    plain = config.model_copy(update={"log": False})
    texts = [value if isinstance(value, str) else None for value in values]
    read = to_numbers(pl.Series(name, texts, pl.String), plain, file=None)
    numbers = [
        number if value is None or isinstance(value, str) else float(value)
        for value, number in zip(values, read, strict=True)
    ]
    return pl.Series(name, numbers, pl.Float64).fill_nan(None)


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
