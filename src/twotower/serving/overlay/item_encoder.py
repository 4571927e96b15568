"""Items of the overlay, encoded as the bundle's were."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from cachetools import LRUCache
from numpy.typing import NDArray
from torch import Tensor

from twotower.config import FeatureConfig
from twotower.data.arrays.mask_cache import ENTRY_BYTES
from twotower.data.columns import ID_FEATURE, ITEM_ID
from twotower.data.dataset.entities import EntityTable, Features, concatenated, encode_rows
from twotower.data.features.column_types import as_kept, declared
from twotower.data.features.schema import Schema, Side
from twotower.data.values.request_values import text_values, typed_values
from twotower.errors import DataError, explain, shorten, unknown
from twotower.models.content_neighbours import ContentLinks, ContentNeighbours
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.bundle.query_encoder import encode_items
from twotower.serving.overlay.item_overlay import Columns, OverlayItem, OverlayRow
from twotower.serving.store.protocol import ItemChange

LONGEST_MORE: Final = 1000
"""Characters, as JSON, of a value that is shown and filtered though the bundle's table of items
does not have its column: longer ones are pictures and vectors of other versions."""
UNREADABLE: Final = (DataError, pl.exceptions.PolarsError, ValueError, TypeError, OverflowError)
"""What a value of another version may raise."""
MAX_AHEAD_BYTES: Final = 64 << 20
"""Of items that are held encoded until their changes are stored."""


class EncodedItem(NamedTuple):
    """What the item tower makes of an item; see `OverlayItem`."""

    features: Features
    state: Tensor
    vector: NDArray[np.float32] | None


class ItemEncoder:
    """Encodes single items as the bundle's were."""

    def __init__(
        self, model: TwoTower, items: EntityTable, content: ContentNeighbours | None = None
    ) -> None:
        """Take what encodes.

        Args:
            model: its item tower is run.
            items: of the bundle.
            content: finds the content neighbours of new items; None where nobody asks for them.
        """
        self._ahead: LRUCache[bytes, EncodedItem] = LRUCache(MAX_AHEAD_BYTES, encoded_bytes)
        self._content = content
        self._model = model
        self._items = items
        self._schema = items.schema
        catalogue = items.frame.schema
        self._catalogue = pl.Schema({n: kind for n, kind in catalogue.items() if n != ITEM_ID})
        self._declared = declared(self._schema.config.columns("item"))
        features = self._schema.columns("item").values()
        self._read = {feature.column: feature for feature in features}
        self._pictures = {f.column for f in features if f.config.image_folder is not None}
        self._shown = [
            name
            for name, kind in self._catalogue.items()
            if name not in self._pictures and kind not in (pl.Binary, pl.Object)
        ]
        self.columns = [
            name for name in dict.fromkeys([*catalogue, *self._read]) if name != ITEM_ID
        ]

    # --- checks ---

    def unknown(self, changes: Sequence[ItemChange]) -> dict[str, int]:
        """The columns that no feature reads and the bundle's table does not have, each with the
        row, from 1, that names it first."""
        found: dict[str, int] = {}
        for row, change in enumerate(changes, start=1):
            for name in change.columns or {}:
                if name not in self.columns:
                    found.setdefault(name, row)
        return found

    def check(self, changes: Sequence[ItemChange], *, strict: bool = False) -> None:
        """Refuse items that cannot be encoded.

        Args:
            changes: what is to be stored.
            strict: refuse columns that the version does not know, too.

        Raises:
            DataError: names row, column, value and fix.
        """
        for name, row in self.unknown(changes).items() if strict else ():
            problem = unknown("the items have no such column", name, self.columns)
            raise DataError(explain(problem, row=row, column=name))
        put = [change for change in changes if change.columns is not None]
        if put:
            encode_rows(self._schema, "item", self._frame(put))
            self.frame([change.columns or {} for change in put])

    # --- the overlay ---

    def encode_ahead(self, changes: Sequence[ItemChange]) -> None:
        """Encode items whose changes are to be stored: `overlaid` does not encode them again then.
        What cannot be read is left to it."""
        put: dict[int, ItemChange] = {}
        for place, change in enumerate(changes):
            num = self._items.num(change.item_id)
            if change.columns and (num >= 0 or not change.partial):
                own = replace(change, item_id=self._items.own_id(change.item_id))
                put[num if num >= 0 else len(self._items) + place] = own
        with suppress(*UNREADABLE):
            for change, encoded in zip(put.values(), self._encoded(put), strict=True):
                self._ahead[change_key(change)] = encoded

    def overlaid(
        self, put: Mapping[int, ItemChange]
    ) -> tuple[dict[int, OverlayItem], dict[int, OverlayRow]]:
        """The items to encode and the rows of all items, by num. Values that this version cannot
        read are left out and named in the rows."""
        try:
            return self._overlaid(put, {})
        except UNREADABLE:
            readable, unread = self._readable(put)
        try:
            return self._overlaid(readable, unread)
        except UNREADABLE:
            # Values that cannot stand in one column together.
            items: dict[int, OverlayItem] = {}
            rows: dict[int, OverlayRow] = {}
            for num, change in readable.items():
                more_items, more_rows = self._alone(num, change, unread.get(num, {}))
                items |= more_items
                rows |= more_rows
            return items, rows

    def _alone(
        self, num: int, change: ItemChange, unread: Mapping[str, str]
    ) -> tuple[dict[int, OverlayItem], dict[int, OverlayRow]]:
        try:
            return self._overlaid({num: change}, {num: unread})
        except UNREADABLE as error:
            every = dict.fromkeys(change.columns or {}, str(error))
            bare = ItemChange(change.item_id, {}, change.partial, change.hidden)
            return self._overlaid({num: bare}, {num: {**unread, **every}})

    def _overlaid(
        self, put: Mapping[int, ItemChange], unread: Mapping[int, Mapping[str, str]]
    ) -> tuple[dict[int, OverlayItem], dict[int, OverlayRow]]:
        """As `overlaid`, of values that can be read.

        Raises:
            DataError: a value cannot.
        """
        read = {
            num: change
            for num, change in put.items()
            if not change.partial or any(name in self._read for name in change.columns or {})
        }
        lost = {num: self._lost_pictures(num, change) for num, change in read.items()}
        unread = {num: {**unread.get(num, {}), **lost.get(num, {})} for num in put}
        rows = self._rows(put, unread)
        # Without its picture, an item would get the vector of another one.
        encoded = {num: change for num, change in read.items() if not lost[num]}
        return dict(zip(encoded, self._encode(encoded), strict=True)), rows

    def _lost_pictures(self, num: int, change: ItemChange) -> dict[str, str]:
        """Column -> why the picture of the bundle's item cannot be encoded again, of an item that
        is changed in part."""
        found = {}
        for feature in self._schema.columns("item").values():
            column = feature.column
            if (
                not change.partial
                or column not in self._pictures
                or column in (change.columns or {})
            ):
                continue
            picture = self._items.frame[column][[num]]
            if picture[0] is not None and np.asarray(feature.encode(picture))[0, -1]:
                found[column] = (
                    f"the picture {shorten(picture[0])} cannot be read here, and the item keeps "
                    "the vector of training; send the picture as base64"
                )
        return found

    def _rows(
        self, put: Mapping[int, ItemChange], unread: Mapping[int, Mapping[str, str]]
    ) -> dict[int, OverlayRow]:
        given = [change.columns or {} for change in put.values()]
        values = self.frame(given).to_dicts() or [{}] * len(given)
        changed = [num for num, change in put.items() if change.partial]
        frame = self._items.frame
        below = dict(zip(changed, frame.select(self._shown)[changed].to_dicts(), strict=True))
        found = {}
        for (num, change), sent, value in zip(put.items(), given, values, strict=True):
            more = {
                name: value
                for name, value in sent.items()
                if name not in self.columns and len(json.dumps(value)) <= LONGEST_MORE
            }
            shown = {name: each for name, each in value.items() if name in sent}
            found[num] = OverlayRow(
                change.item_id,
                {**below.get(num, {}), **shown, **more},
                sent,
                more,
                change.partial,
                unread.get(num, {}),
            )
        return found

    def _encode(self, put: Mapping[int, ItemChange]) -> list[OverlayItem]:
        keys = {num: change_key(change) for num, change in put.items()}
        rest = {num: change for num, change in put.items() if keys[num] not in self._ahead}
        encoded = dict(zip(rest, self._encoded(rest), strict=True))
        encoded |= {num: self._ahead.pop(keys[num]) for num in put if num not in rest}
        return [
            OverlayItem(
                num,
                change.item_id,
                *encoded[num],
                None if encoded[num].vector is None else self._links(num, encoded[num].features),
            )
            for num, change in put.items()
        ]

    def _encoded(self, put: Mapping[int, ItemChange]) -> list[EncodedItem]:
        if not put:
            return []
        changes = list(put.values())
        frame = self._frame(changes)
        features = self._features(put, frame)
        states, vectors = encode_items(self._model, features)
        known = np.zeros(len(frame), dtype=np.bool_)
        for name in self._read:
            known |= frame[name].is_not_null().to_numpy()
        if ID_FEATURE in self._schema.features["item"]:
            vocabulary = self._schema.items
            known |= vocabulary.encode(frame[ITEM_ID]) >= vocabulary.first_known
        for row, (num, change) in enumerate(put.items()):
            if change.partial and not known[row]:
                rest = [name for name in self._read if name not in (change.columns or {})]
                known[row] = any(self._items.frame[name][num] is not None for name in rest)
        return [
            EncodedItem(
                {name: column[row : row + 1].clone() for name, column in features.items()},
                states[row].clone(),
                vectors[row].numpy().copy() if known[row] else None,
            )
            for row in range(len(put))
        ]

    def _links(self, num: int, features: Features) -> ContentLinks | None:
        """The content neighbours of an item that the bundle does not have."""
        if self._content is None or num < len(self._items):
            return None
        return self._content.links(np.array([num]), features)

    def _features(self, put: Mapping[int, ItemChange], frame: pl.DataFrame) -> Features:
        """Encoded features (A, ...); of items that were changed in part, those of the bundle's item
        where no column was sent."""
        encoded = encode_rows(self._schema, "item", frame)
        changed = [(row, num) for row, (num, change) in enumerate(put.items()) if change.partial]
        if not changed:
            return encoded
        below = encode_rows(self._schema, "item", self._items.frame[[num for _, num in changed]])
        sent = [change.columns or {} for change in put.values()]
        for name, feature in self._schema.features["item"].items():
            rows = [encoded[name][row : row + 1] for row in range(len(put))]
            for place, (row, _) in enumerate(changed):
                if name == ID_FEATURE or feature.column not in sent[row]:
                    rows[row] = below[name][place : place + 1]
            encoded[name] = concatenated(rows)
        return encoded

    # --- columns ---

    def frame(self, changes: Sequence[Columns]) -> pl.DataFrame:
        """Columns of items as answers show them and filters read them, in the types of the
        catalogue: no pictures.

        Raises:
            DataError: a value does not fit the column.
        """
        names = [name for name in self._catalogue if name not in self._pictures]
        rows = pl.DataFrame(
            [
                to_series(name, self._values(name, changes), self._declared.get(name, []))
                for name in names
            ]
        )
        return as_kept(rows, self._catalogue, self._declared)

    def filtered_columns(self, rows: Mapping[int, OverlayRow]) -> pl.DataFrame:
        """The columns of items that filters read: those of the catalogue, the bundle's value where
        an item was changed in part, and those that only items of the overlay have."""
        frame = self.frame([row.given for row in rows.values()])
        if any(row.partial for row in rows.values()):
            # The first row of the table is empty.
            below = self._items.frame[[n if row.partial else 0 for n, row in rows.items()]]
            frame = frame.with_columns(
                merged(
                    self._like(column, below[column.name]),
                    below[column.name],
                    [not row.partial or column.name in row.given for row in rows.values()],
                )
                for column in frame
            )
        more = dict.fromkeys(name for row in rows.values() for name in row.more)
        return frame.with_columns(
            more_column(name, [row.more.get(name) for row in rows.values()]) for name in more
        )

    def _values(self, name: str, changes: Sequence[Columns]) -> list[Any]:
        """The values of a column. Where some items were sent a list and some a plain value, all are
        plain cells of a text column if it has a separator, and lists otherwise."""
        values = [columns.get(name) for columns in changes]
        if len({isinstance(value, list) for value in values if value is not None}) < 2:
            return values
        if name in self._declared:
            values = [self._declared[name][0].to_cell(value) for value in values]
        if any(isinstance(value, list) for value in values):
            return [v if v is None or isinstance(v, list) else [v] for v in values]
        return values

    def _like(self, column: pl.Series, below: pl.Series) -> pl.Series:
        """Values that were sent, in lists where the bundle's table has lists and in text where it
        has text."""
        if column.null_count() == len(column):
            return pl.Series(column.name, [None] * len(column), dtype=below.dtype)
        lists, below_lists = (isinstance(one.dtype, pl.List) for one in (column, below))
        if lists == below_lists:
            return column
        if below_lists:
            values = [None if value is None else [value] for value in column.to_list()]
            return pl.Series(column.name, values, dtype=pl.List(pl.String))
        config = self._declared[column.name][0]
        return pl.Series(column.name, map(config.to_cell, column.to_list()), dtype=pl.String)

    def _frame(self, changes: Sequence[ItemChange]) -> pl.DataFrame:
        """Ids and columns of items as the columns that the item features read."""
        cells: dict[str, list[Any]] = {ITEM_ID: [change.item_id for change in changes]}
        for name in self._read:
            cells[name] = self._values(name, [change.columns or {} for change in changes])
        return to_frame(cells, self._schema, "item")

    # --- values that another version was sent ---

    def _readable(
        self, put: Mapping[int, ItemChange]
    ) -> tuple[dict[int, ItemChange], dict[int, dict[str, str]]]:
        """The items without the values that this version cannot read, and why, by num and
        column."""
        unread: dict[int, dict[str, str]] = {}
        for name in self.columns:
            sent = {
                num: change.columns[name]
                for num, change in put.items()
                if change.columns is not None and name in change.columns
            }
            if not sent or self._problem(name, list(sent.values())) is None:
                continue
            for num, value in sent.items():
                problem = self._problem(name, [value])
                if problem is not None:
                    unread.setdefault(num, {})[name] = problem
        readable = {
            num: ItemChange(
                change.item_id,
                {n: v for n, v in (change.columns or {}).items() if n not in unread.get(num, {})},
                change.partial,
                change.hidden,
            )
            for num, change in put.items()
        }
        return readable, unread

    def _problem(self, name: str, values: Sequence[Any]) -> str | None:
        """Why values of a column cannot be read together; None if they can."""
        try:
            column = to_series(name, values, self._declared.get(name, []))
            for feature in self._schema.columns("item").values():
                if feature.column == name:
                    feature.config.check(column)
                    feature.encode(column)
            if name in self._catalogue and name not in self._pictures:
                kept = pl.Schema({name: self._catalogue[name]})
                as_kept(column.to_frame(), kept, self._declared)
        except UNREADABLE as error:
            return str(error).removeprefix("row 1, ")
        return None


def encoded_bytes(encoded: EncodedItem) -> int:
    """What an encoded item takes, with its key."""
    tensors = [*encoded.features.values(), encoded.state, encoded.state]
    return ENTRY_BYTES + sum(int(tensor.nbytes) + ENTRY_BYTES for tensor in tensors)


def change_key(change: ItemChange) -> bytes:
    """The same key for changes that make the same of an item."""
    text = json.dumps([change.item_id, change.columns, change.partial], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def merged(column: pl.Series, below: pl.Series, sent: Sequence[bool]) -> pl.Series:
    """The values of a column where they were sent, else those of the bundle's table."""
    if isinstance(below.dtype, pl.Categorical | pl.Enum):
        below = below.cast(pl.String)
    chosen = pl.when(pl.Series(sent)).then(column).otherwise(below)
    return pl.select(chosen.alias(column.name)).to_series()


def more_column(name: str, values: Sequence[Any]) -> pl.Series:
    """Values of a column that no table declares: numbers, truth values or lists of text where all
    are, else text."""
    if any(isinstance(value, list) for value in values):
        lists = [v if v is None or isinstance(v, list) else [v] for v in values]
        return text_values(name, lists)
    there = [value for value in values if value is not None]
    if not there:
        return pl.Series(name, values, dtype=pl.String)
    if {type(value) for value in there} == {int, float}:
        values = [None if value is None else float(value) for value in values]
    typed = typed_values(name, values)
    return text_values(name, values) if typed is None else typed


def stacked_features(items: Iterable[OverlayItem]) -> Features:
    """name -> (A, ...) features of items of the overlay."""
    each = [item.features for item in items]
    return {name: concatenated([row[name] for row in each]) for name in each[0]}


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
