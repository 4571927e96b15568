"""Items that were added, changed or removed at run time, as one version of the model sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config import FeatureConfig
from twotower.data.columns import ID_FEATURE, ITEM_ID
from twotower.data.dataset.entities import Features, encode_rows
from twotower.data.features.column_types import as_kept, declared
from twotower.data.features.schema import Schema, Side
from twotower.data.values.request_values import text_values, typed_values
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
        self._declared = declared(schema.config.columns("item"))
        features = schema.columns("item").values()
        self._read = {feature.column: feature for feature in features}
        self._pictures = {f.column for f in features if f.config.image_folder is not None}
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
    columns = declared(schema.config.columns(side))
    frame = pl.DataFrame(
        [to_series(name, values, columns.get(name, [])) for name, values in cells.items()]
    )
    for feature in schema.columns(side).values():
        feature.config.check(frame[feature.column])
    return frame


def to_series(name: str, values: Sequence[Any], configs: Sequence[FeatureConfig] = ()) -> pl.Series:
    """Values of requests as a column. What a value means does not depend on the others.

    Args:
        name: of the column.
        values: plain values or lists of them.
        configs: the features that read it, by precedence.

    Raises:
        DataError: a value is not of a feature's type, or plain values and lists stand beside each
            other.
    """
    for config in configs:
        column = config.from_request(name, values)
        if column is not None:
            return column
    typed = typed_values(name, values)
    return text_values(name, values) if typed is None else typed
