"""Raw values to dense integers: 0 is padding, then the OOV rows, then the known values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import polars as pl
from numpy.typing import NDArray

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
            DataError: nulls, duplicates, or a type that is neither integer nor string.
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
            values = values.cast(pl.Int64)
        if values.null_count() or values.n_unique() != len(values):
            raise DataError(
                explain("a vocabulary takes each value once and no null", column=values.name)
            )
        if num_oov < 1:
            raise ValueError(f"The 'num_oov' parameter must be at least 1. Got {num_oov} instead.")
        self.values = values.rechunk()
        self.num_oov = num_oov
        self._nums = pl.DataFrame(
            {
                "value": self.values,
                "num": pl.Series(np.arange(self.first_known, self.num_embeddings, dtype=np.int64)),
            }
        )

    @staticmethod
    def build(column: pl.Series, *, min_count: int = 1, num_oov: int = 1) -> Vocabulary:
        """The distinct values of a training column that occur at least `min_count` times, sorted."""
        name = column.name or "value"
        counts = column.drop_nulls().alias(name).value_counts(name="count")
        kept = counts.filter(pl.col("count") >= min_count)[name].sort()
        return Vocabulary(kept, num_oov=num_oov)

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

        Raises:
            DataError: the column's values cannot be compared with the vocabulary's.
        """
        series = column if isinstance(column, pl.Series) else pl.Series("value", list(column))
        if series.dtype == pl.Null:
            return np.zeros(len(series), dtype=np.int64)
        series = self._cast(series)
        joined = (
            series.alias("value")
            .to_frame()
            .join(self._nums, on="value", how="left", maintain_order="left")
        )
        nums = joined["num"].fill_null(-1).to_numpy().copy()
        nums[series.is_null().to_numpy()] = PADDING
        unknown = np.flatnonzero(nums < 0)
        if len(unknown):
            nums[unknown] = 1
            if self.num_oov > 1:
                nums[unknown] = [
                    1 + crc32(str(value).encode()) % self.num_oov
                    for value in series.gather(unknown).to_list()
                ]
        return nums

    def _cast(self, series: pl.Series) -> pl.Series:
        if series.dtype == self.values.dtype:
            return series
        if self.values.dtype == pl.String:
            return series.cast(pl.String)
        # Text that spells an integer is that integer; any other text is a value never seen.
        numbers = series.cast(pl.Int64, strict=False)
        broken = numbers.is_null() & series.is_not_null()
        if broken.any():
            never_seen = self._unused_integer()
            numbers = (
                numbers.to_frame()
                .select(pl.when(pl.Series(broken)).then(never_seen).otherwise(pl.col(numbers.name)))
                .to_series()
            )
        return numbers

    def _unused_integer(self) -> int:
        smallest = self.values.min()
        return (int(smallest) if isinstance(smallest, int) else 0) - 1

    def decode(self, nums: NDArray[np.integer]) -> list[str | int | None]:
        """Nums (T,) to raw values; padding and OOV nums to None."""
        known = nums >= self.first_known
        found = (
            self.values.gather(np.where(known, nums - self.first_known, 0)).to_list()
            if len(self.values)
            else [None] * len(nums)
        )
        return [value if ok else None for value, ok in zip(found, known, strict=True)]

    def save(self, path: Path) -> None:
        """Write the values as an Arrow IPC file; `num_oov` is kept in the schema's JSON."""
        self.values.alias("value").to_frame().write_ipc(path)

    @staticmethod
    def load(path: Path, *, num_oov: int) -> Vocabulary:
        """Read what `save` wrote."""
        return Vocabulary(pl.read_ipc(path, memory_map=False)["value"], num_oov=num_oov)
