"""All users, or all items: one row each, features encoded once, one numbering for the whole
system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.feature_type import Lists
from twotower.data.arrays.ragged_tensor import RaggedTensor
from twotower.data.columns import ID_FEATURE, ITEM_ID, USER_ID
from twotower.data.features.schema import Schema, Side, check_side
from twotower.data.values.id_places import IdPlaces
from twotower.data.values.ids import cast_ids
from twotower.data.values.spelling import to_integer

Column = Tensor | RaggedTensor
"""An encoded feature of R rows: (R,), (R, ...), or lists of terms."""
Features = dict[str, Column]
"""name -> encoded feature of R rows."""

OUTSIDE = -1
"""The num of an id that an entity table has no row for."""


class EntityTable:
    """The users or the items, numbered.

    Rows 0 .. first_known - 1 are padding and the OOV rows (all features missing), then come the
    ids of the training part in the order of the vocabulary (`warm`), then ids that only the side's
    file or later parts know (`cold`). So for a warm entity its num here is its vocabulary num.

    Attributes:
        ids: (R,) raw ids; null in the rows before `first_known`.
        places: of the ids from `first_known` on.
        frame: (R rows) the columns of the side's file, null where the file lacks the entity.
    """

    def __init__(
        self,
        schema: Schema,
        side: Literal["user", "item"],
        table: pl.DataFrame | None,
        *,
        extra_ids: pl.Series | None = None,
        file: str | None = None,
    ) -> None:
        """Number and encode.

        Args:
            schema: fitted on the training part.
            side: whose table this is.
            table: the side's file with its id column under our name, ids unique; None without one.
            extra_ids: further ids to give a row (users of the test part); doubles are fine.
            file: the file's name, for errors.

        Raises:
            DataError: a declared column is missing or a value is not of its type.
        """
        self.side: Literal["user", "item"] = side
        self.key = USER_ID if side == "user" else ITEM_ID
        self.schema = schema
        vocabulary = schema.vocabulary(side)
        self.first_known = vocabulary.first_known
        self.num_warm = len(vocabulary)
        self.ids = self._number(table, extra_ids)
        self.places = IdPlaces(self.ids[self.first_known :])
        self.frame = self._align(table)
        # Checked in the file's own order, so that an error names the file's row.
        check_side(schema.config, side, table, file=file)
        self.file = file

    @cached_property
    def features(self) -> Features:
        """name -> encoded columns (R, ...); "id" holds vocabulary nums, a cold id's being an OOV
        num. Encoded when they are first asked for: serving needs none of the items'."""
        features: Features = {}
        for name, feature in self.schema.features[self.side].items():
            if name == ID_FEATURE:
                nums = self.schema.vocabulary(self.side).encode(self.ids)
                nums[1 : self.first_known] = np.arange(1, self.first_known)
                features[name] = torch.from_numpy(nums)
            else:
                encoded = feature.encode(self.frame[feature.column], file=self.file)
                features[name] = to_column(encoded)
        return features

    def _number(self, table: pl.DataFrame | None, extra_ids: pl.Series | None) -> pl.Series:
        vocabulary = self.schema.vocabulary(self.side)
        others = [] if table is None else [table[self.key]]
        others += [] if extra_ids is None else [extra_ids]
        dtype = vocabulary.values.dtype
        if any(cast_ids(column, dtype).null_count() > column.null_count() for column in others):
            dtype = pl.String()  # training saw integers alone, and later ids are text
        head = pl.Series(self.key, [None] * self.first_known, dtype=dtype)
        parts = [head, cast_ids(vocabulary.values, dtype).alias(self.key)]
        if others:
            pool = pl.concat([cast_ids(column, dtype).alias(self.key) for column in others])
            cold = pool.drop_nulls().unique(maintain_order=True)
            nums = vocabulary.encode(cold)
            parts.append(cold.filter(pl.Series(nums < self.first_known)))
        return pl.concat(parts).rechunk()

    def _align(self, table: pl.DataFrame | None) -> pl.DataFrame:
        ids = self.ids.to_frame()
        if table is None:
            return ids
        table = table.with_columns(cast_ids(table[self.key], self.ids.dtype))
        return ids.join(table, on=self.key, how="left", maintain_order="left")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def end_warm(self) -> int:
        """Nums in [first_known, end_warm) are warm, from end_warm on cold."""
        return self.first_known + self.num_warm

    def nums(self, raw_ids: pl.Series) -> NDArray[np.int64]:
        """Raw ids (T,) to nums (T,); `OUTSIDE` for ids without a row here, and for nulls."""
        places = self.places.of(cast_ids(raw_ids, self.ids.dtype))
        return np.where(places < 0, OUTSIDE, places + self.first_known)

    def num(self, raw_id: str | int) -> int:
        """The num of one id, `OUTSIDE` without a row here; see `own_id`."""
        place = self.places.one(self.own_id(raw_id))
        return OUTSIDE if place < 0 else place + self.first_known

    def own_id(self, raw_id: str | int) -> str | int:
        """An id in the type that the table has: an integer and the text that spells it as integers
        are written are the same id; other text stays as it is."""
        if not self.places.are_integers:
            return str(raw_id)
        number = to_integer(raw_id) if isinstance(raw_id, str) else None
        return raw_id if number is None else number

    def is_warm(self, nums: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which nums were seen in training."""
        return (nums >= self.first_known) & (nums < self.end_warm)

    def with_more(self, raw_ids: pl.Series) -> EntityTable:
        """The same rows and, behind them, one for each further id."""
        return EntityTable(
            self.schema, self.side, self.frame[self.first_known :], extra_ids=raw_ids
        )

    def has_features(self) -> NDArray[np.bool_]:
        """(R,) which rows have a value in at least one feature other than the id."""
        there = np.zeros(len(self), dtype=np.bool_)
        for feature in self.schema.columns(self.side).values():
            there |= self.frame[feature.column].is_not_null().to_numpy()
        return there

    def gather(self, nums: Tensor) -> Features:
        """The encoded features of `nums` (B,), each (B, ...)."""
        return {name: column.index_select(0, nums) for name, column in self.features.items()}


def encode_rows(schema: Schema, side: Side, rows: pl.DataFrame) -> Features:
    """Features of what has no row in a table: invented users, new items, contexts of requests.

    Columns that are left out are missing values; ids that training does not know become OOV.

    Raises:
        DataError: a value is not of its feature's type.
    """
    key = USER_ID if side == "user" else ITEM_ID
    encoded: Features = {}
    for name, feature in schema.features[side].items():
        column = key if name == ID_FEATURE else feature.column
        values = rows[column] if column in rows.columns else pl.Series(column, [None] * len(rows))
        encoded[name] = to_column(feature.encode(values))
        if name == ID_FEATURE:
            # No id at all is an unknown id, not padding.
            encoded[name] = tensor_of(encoded, name).clamp(min=1)
    return encoded


def to_column(encoded: NDArray[Any] | Lists) -> Column:
    """What a feature encodes, as the models read it; the memory is shared where it can be."""
    if isinstance(encoded, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(encoded))
    return RaggedTensor(torch.from_numpy(encoded.offsets), torch.from_numpy(encoded.values))


def tensor_of(features: Mapping[str, Column], name: str) -> Tensor:
    """A feature that is no list, such as the id."""
    column = features[name]
    assert isinstance(column, Tensor)
    return column


def taken(features: Features, rows: NDArray[np.integer]) -> Features:
    """The rows `rows` (Q,) of all features."""
    if not features:
        return {}
    places = torch.from_numpy(rows.astype(np.int64))
    return {name: column[places] for name, column in features.items()}


def concatenated(columns: Sequence[Column]) -> Column:
    """The rows of several columns of the same feature, at least one."""
    if isinstance(columns[0], Tensor):
        return torch.cat(cast(list[Tensor], list(columns)))
    return RaggedTensor.concatenated(cast(list[RaggedTensor], columns))


def at_positions(column: Column, rows: Tensor) -> Tensor:
    """The rows `rows` (B, P) of a column (R, ...) as (B, P, ...), lists padded with 0."""
    if isinstance(column, Tensor):
        return column[rows]
    nums = column[rows.flatten()].padded()
    return nums.reshape(*rows.shape, nums.shape[1])
