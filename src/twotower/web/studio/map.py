"""The item vectors in two dimensions, and what an item looks like.

Shapes: N item vectors, T coordinates of taste, P points that are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.arrays.top_k import places_of
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.entities import EntityTable
from twotower.serving.answer.reasons import NAME_COLUMNS, normalized
from twotower.serving.answer.recommender import Recommender

MAX_POINTS: Final = 20_000
"""Points that a browser draws smoothly; of a larger catalogue a random part is shown."""
MAX_FITTED: Final = 50_000
"""Vectors that the axes are found from."""
NUM_COLOURS: Final = 9
"""Values of a column that get a colour of their own."""


@dataclass(frozen=True)
class Projection:
    """Principal components: the plane in which the vectors differ most.

    Attributes:
        mean: (T,).
        axes: (T, 2), scaled so that the fitted vectors lie in [-1, 1].
        explained: (2,) the share of the variance that each axis shows.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    explained: NDArray[np.float32]

    @staticmethod
    def fit(vectors: NDArray[np.float32]) -> Projection:
        """Of vectors (N, T); without two different ones all points are the origin."""
        width = vectors.shape[1]
        if len(vectors) < 2:
            empty = np.zeros((width, 2), dtype=np.float32)
            return Projection(np.zeros(width, dtype=np.float32), empty, np.zeros(2, np.float32))
        mean: NDArray[np.float32] = vectors.mean(axis=0)
        spread = np.cov(vectors - mean, rowvar=False).reshape(width, width)
        values, directions = np.linalg.eigh(spread)
        axes = np.zeros((width, 2))
        axes[:, : min(2, width)] = directions[:, ::-1][:, :2]
        # The sign of a direction is arbitrary: the largest coordinate is made positive.
        axes *= np.where(axes[np.abs(axes).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)
        largest = np.abs((vectors - mean) @ axes).max()
        shares = np.zeros(2)
        total = values.sum()
        if total > 0:
            shares[: min(2, width)] = values[::-1][:2] / total
        scaled = axes / (largest or 1.0)
        return Projection(
            mean.astype(np.float32), scaled.astype(np.float32), shares.astype(np.float32)
        )

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(R, T) to (R, 2)."""
        points: NDArray[np.float32] = ((vectors - self.mean) @ self.axes).astype(np.float32)
        return points


@dataclass(frozen=True, eq=False)
class ItemMap:
    """Where the items of a recommender lie.

    Attributes:
        recommender: whose items they are.
        projection: fitted on their vectors.
        shown: (P,) item nums of the points, ascending.
        points: (P, 2).
    """

    recommender: Recommender
    projection: Projection
    shown: NDArray[np.int64]
    points: NDArray[np.float32]

    @staticmethod
    def of(recommender: Recommender) -> ItemMap:
        """Project the item vectors by their direction, as the scores of normalised towers do."""
        nums = recommender.served.index.item_nums
        rng = np.random.default_rng(0)
        chosen = _some(len(nums), MAX_FITTED, rng)
        vectors = tastes(recommender, nums[chosen])
        projection = Projection.fit(vectors)
        shown = nums[chosen[_some(len(chosen), MAX_POINTS, rng)]]
        return ItemMap(recommender, projection, shown, projection(tastes(recommender, shown)))

    def places(self, nums: NDArray[np.integer]) -> NDArray[np.float32]:
        """(T,) item nums to (T, 2); NaN for an item without a vector."""
        points = self.projection(tastes(self.recommender, nums))
        points[places_of(self.recommender.served.index.item_nums, nums) < 0] = np.nan
        return points

    def to_json(self) -> dict[str, Any]:
        """The points with what they are called, and the projection, so that a page can place the
        vector of a user, too."""
        items = self.recommender.items
        rounded = np.round(self.points, 4)
        return {
            "total": len(self.recommender.served.index.item_nums),
            "explained": self.projection.explained.round(4).tolist(),
            "mean": self.projection.mean.tolist(),
            "axes": self.projection.axes.T.tolist(),
            "item_id": items.ids.gather(self.shown).to_list(),
            "name": names(items).gather(self.shown).to_list(),
            "x": rounded[:, 0].tolist(),
            "y": rounded[:, 1].tolist(),
            "taken": self.recommender.item_counts[self.shown].tolist(),
        }

    def colours(self, column: str) -> dict[str, Any]:
        """The values of a column of the items, or `taken`, for each point."""
        if column == "taken":
            return _shades(pl.Series(self.recommender.item_counts[self.shown]))
        return colours(self.recommender.items.frame[column].gather(self.shown))


def _some(number: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """All places below `number`, or a random part of them, ascending."""
    if number <= most:
        return np.arange(number)
    return np.sort(rng.choice(number, most, replace=False))


def tastes(recommender: Recommender, nums: NDArray[np.integer]) -> NDArray[np.float32]:
    """(T,) item nums to the directions of their vectors (T, num_taste); zeros without one."""
    places = places_of(recommender.served.index.item_nums, nums)
    found = np.zeros((len(nums), recommender.served.num_taste), dtype=np.float32)
    there = places >= 0
    found[there] = recommender.served.index.vectors()[places[there], : recommender.served.num_taste]
    return normalized(found)


# --- what items are called, and the colours of columns ------------------------------------------


def name_column(items: EntityTable) -> str | None:
    """The column of the items file that an item is called by."""
    return next((column for column in NAME_COLUMNS if column in items.frame.columns), None)


def names(items: EntityTable) -> pl.Series:
    """(R,) a title, or the id where there is none."""
    column = name_column(items)
    ids = items.ids.cast(pl.String)
    if column is None:
        return ids
    return items.frame[column].cast(pl.String).fill_null(ids)


def can_colour(column: pl.Series) -> bool:
    """Whether a column's values tell items apart, and are not too many to tell."""
    dtype = column.dtype
    if dtype.is_numeric() or dtype == pl.Boolean or dtype.is_temporal():
        return True
    if dtype == pl.List(pl.String):
        return True
    if dtype != pl.String or column.null_count() == len(column):
        return False
    return column.n_unique() <= max(50, len(column) // 20)


def colours(column: pl.Series) -> dict[str, Any]:
    """A column (P,) as `{"kind": "number", "low", "high", "values"}`, or as `{"kind": "category",
    "names", "codes"}` with the commonest values; the code -1 stands for the others."""
    dtype = column.dtype
    if dtype.is_temporal():
        column = column.dt.year() if dtype in (pl.Date, pl.Datetime) else column.cast(pl.Int64)
        dtype = column.dtype
    if dtype.is_numeric():
        return _shades(column)
    if dtype == pl.List(pl.String):
        column = column.list.first()
    texts = column.cast(pl.String)
    counts = texts.drop_nulls().value_counts(sort=True, name="count")
    common = counts.sort(["count", texts.name], descending=[True, False])[texts.name]
    kept = common.head(NUM_COLOURS).to_list()
    code = {name: place for place, name in enumerate(kept)}
    return {
        "kind": "category",
        "names": kept,
        "codes": [code.get(text, -1) for text in texts.to_list()],
        "others": len(common) > len(kept),
    }


def _shades(column: pl.Series) -> dict[str, Any]:
    """Numbers, from the 2nd to the 98th percentile, so that one outlier does not grey the rest."""
    numbers = column.cast(pl.Float64).fill_nan(None)
    low, high = numbers.quantile(0.02), numbers.quantile(0.98)
    return {"kind": "number", "low": low, "high": high, "values": numbers.to_list()}


def picture_column(items: EntityTable) -> str | None:
    """The first image feature's column."""
    for name, feature in items.schema.features["item"].items():
        declared = items.schema.config.item[name]
        if name != ID_FEATURE and declared.type == "image":
            return feature.column
    return None
