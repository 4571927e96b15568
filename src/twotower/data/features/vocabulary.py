"""Raw values to dense integers: 0 is padding, then the OOV rows, then the known values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.arrays.workspace import distinct
from twotower.data.values.id_places import IdPlaces
from twotower.data.values.spelling import spell, spelled, to_integers
from twotower.errors import DataError, explain

PADDING = 0
"""The num of "no value here"."""


class Vocabulary:
    """A fixed, ordered set of raw values (strings or integers) and their nums.

    num 0 is padding, nums 1 .. num_oov stand for values never seen, and the known values follow in
    order. A value never seen always gets the same OOV num, in every process. Null becomes padding.

    An embedding table is made with `num_embeddings` rows, so it cannot be too small for its ids.
    """

    def __init__(self, values: pl.Series, *, num_oov: int = 1) -> None:
        """Take the known values in the order given.

        Args:
            values: (V,) unique, without nulls, of an integer or string type.
            num_oov: rows shared by all values that are not known, at least 1.

        Raises:
            DataError: nulls, duplicates, a type that is neither integer nor string, or an integer
                beyond 64 bits.
        """
        if not (values.dtype.is_integer() or values.dtype == pl.String):
            raise DataError(
                explain(
                    f"a vocabulary takes strings or integers, not {values.dtype}",
                    column=values.name,
                    fix="cast the column to text or to integers",
                )
            )
        if values.dtype.is_integer():
            values = _int64(values)
        if values.null_count() or values.n_unique() != len(values):
            raise DataError(
                explain("a vocabulary takes each value once and no null", column=values.name)
            )
        if num_oov < 1:
            raise ValueError(f"The 'num_oov' parameter must be at least 1. Got {num_oov} instead.")
        self.values = values.rechunk()
        self.num_oov = num_oov
        self._places = IdPlaces(self.values)

    @staticmethod
    def build(column: pl.Series, *, min_count: int = 1, num_oov: int = 1) -> Vocabulary:
        """The values of a training column that occur at least `min_count` times, sorted."""
        if min_count == 1:
            kept = distinct(column)
        else:
            counts = column.drop_nulls().alias("value").value_counts(name="count")
            kept = counts.filter(pl.col("count") >= min_count)["value"].sort()
        return Vocabulary(kept.alias(column.name), num_oov=num_oov)

    @property
    def first_known(self) -> int:
        """The num of the first known value: 1 + num_oov."""
        return 1 + self.num_oov

    @property
    def num_embeddings(self) -> int:
        """Rows that an embedding table needs: padding + OOV + known."""
        return self.first_known + len(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Vocabulary)
            and self.num_oov == other.num_oov
            and self.values.dtype == other.values.dtype
            and self.values.equals(other.values)
        )

    __hash__ = None  # type: ignore[assignment]

    def encode(self, column: pl.Series | Sequence[str | int | None]) -> NDArray[np.int64]:
        """Raw values (T,) to nums (T,) int64; unknown values to OOV nums, nulls to padding.

        An integer and the text that spells it as integers are written are the same value, in both
        directions; `007` and 7 are not.
        """
        if not isinstance(column, pl.Series):
            column = pl.Series([spell(value) for value in column], dtype=pl.String)
        cast = spelled if self.values.dtype == pl.String else to_integers
        nums = self._places.of(cast(column))
        unknown = np.flatnonzero(nums < 0)
        nums += self.first_known
        if len(unknown):
            nums[unknown] = self._oov(spelled(column.gather(unknown)))
        return nums

    def _oov(self, unknown: pl.Series) -> NDArray[np.int64]:
        """The OOV nums of text (T,), by a hash of it that every process agrees on; nulls are
        padding."""
        if self.num_oov == 1:
            return np.where(unknown.is_null().to_numpy(), PADDING, 1)
        hashes = [PADDING if t is None else 1 + crc32(t.encode()) % self.num_oov for t in unknown]
        return np.array(hashes, dtype=np.int64)

    def decode(self, nums: NDArray[np.integer]) -> list[str | int | None]:
        """Nums (T,) to raw values; padding and OOV nums to None."""
        known = nums >= self.first_known
        found = (
            self.values.gather(np.where(known, nums - self.first_known, 0)).to_list()
            if len(self.values)
            else [None] * len(nums)
        )
        return [value if ok else None for value, ok in zip(found, known, strict=True)]

    def as_text(self) -> Vocabulary:
        """The same nums for the values as text: categories of older bundles were integers."""
        if self.values.dtype == pl.String:
            return self
        return Vocabulary(spelled(self.values), num_oov=self.num_oov)

    def save(self, path: Path) -> None:
        """Write the values as an Arrow IPC file; `num_oov` is kept in the schema's JSON."""
        self.values.alias("value").to_frame().write_ipc(path)

    @staticmethod
    def load(path: Path, *, num_oov: int) -> Vocabulary:
        """Read what `save` wrote."""
        return Vocabulary(pl.read_ipc(path.read_bytes())["value"], num_oov=num_oov)


def _int64(values: pl.Series) -> pl.Series:
    numbers = values.cast(pl.Int64, strict=False)
    beyond = (numbers.is_null() & values.is_not_null()).arg_max() if len(values) else None
    if numbers.null_count() > values.null_count() and beyond is not None:
        raise DataError(
            explain(
                "a vocabulary takes integers of 64 bits with a sign",
                column=values.name,
                value=values[beyond],
                fix="cast the column to text",
            )
        )
    return numbers
