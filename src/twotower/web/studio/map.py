"""The map: a two-dimensional projection of the item vectors, with names and colours.

Shapes: N item vectors, T vector coordinates without the bias, P points shown, R rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.arrays.top_k import places_of
from twotower.data.dataset.entities import EntityTable
from twotower.serving.answer.reasons import normalized
from twotower.serving.bundle.served_model import ServedModel
from twotower.serving.overlay.catalogue import NAME_COLUMNS

MAX_POINTS: Final = 20_000
"""Maximum number of points; of a larger catalogue a random sample is shown."""
MAX_FITTED: Final = 50_000
"""Maximum number of vectors that the projection is fitted on."""
NUM_COLOURS: Final = 9
"""Number of column values with a colour of their own."""


@dataclass(frozen=True)
class Projection:
    """Projection onto the first two principal components.

    Attributes:
        mean: (T,).
        axes: (T, 2), scaled so that the fitted points lie in [-1, 1].
        explained: (2,) share of the variance explained by each axis.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    explained: NDArray[np.float32]

    @staticmethod
    def fit(vectors: NDArray[np.float32]) -> Projection:
        """Fit on vectors (N, T); with fewer than two, all points are the origin."""
        width = vectors.shape[1]
        if len(vectors) < 2:
            empty = np.zeros((width, 2), dtype=np.float32)
            return Projection(np.zeros(width, dtype=np.float32), empty, np.zeros(2, np.float32))
        mean: NDArray[np.float32] = vectors.mean(axis=0)
        spread = np.cov(vectors - mean, rowvar=False).reshape(width, width)
        values, directions = np.linalg.eigh(spread)
        axes = np.zeros((width, 2))
        axes[:, : min(2, width)] = directions[:, ::-1][:, :2]
        # The sign of an eigenvector is arbitrary: make its largest coordinate positive.
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
        """Project vectors (R, T) to points (R, 2)."""
        points: NDArray[np.float32] = ((vectors - self.mean) @ self.axes).astype(np.float32)
        return points


@dataclass(frozen=True, eq=False)
class ItemMap:
    """Positions of the items of a served.

    Attributes:
        served: the served.
        projection: fitted on its item vectors.
        shown: (P,) item nums of the points, ascending.
        points: (P, 2) their positions.
    """

    served: ServedModel
    projection: Projection
    shown: NDArray[np.int64]
    points: NDArray[np.float32]

    @staticmethod
    def of(served: ServedModel) -> ItemMap:
        """Fit the projection on the directions of the item vectors."""
        nums = served.index.item_nums
        rng = np.random.default_rng(0)
        chosen = _some(len(nums), MAX_FITTED, rng)
        vectors = tastes(served, nums[chosen])
        projection = Projection.fit(vectors)
        shown = nums[chosen[_some(len(chosen), MAX_POINTS, rng)]]
        return ItemMap(served, projection, shown, projection(tastes(served, shown)))

    def places(self, nums: NDArray[np.integer]) -> NDArray[np.float32]:
        """(R,) item nums to positions (R, 2); NaN for an item without a vector."""
        points = self.projection(tastes(self.served, nums))
        points[places_of(self.served.index.item_nums, nums) < 0] = np.nan
        return points

    def to_json(self) -> dict[str, Any]:
        """The points with their names, and the projection, for the page to apply to queries."""
        items = self.served.items
        rounded = np.round(self.points, 4)
        return {
            "total": len(self.served.index.item_nums),
            "explained": self.projection.explained.round(4).tolist(),
            "mean": self.projection.mean.tolist(),
            "axes": self.projection.axes.T.tolist(),
            "item_id": items.ids.gather(self.shown).to_list(),
            "name": names(items).gather(self.shown).to_list(),
            "x": rounded[:, 0].tolist(),
            "y": rounded[:, 1].tolist(),
            "interactions": self.served.item_counts[self.shown].tolist(),
        }

    def colours(self, column: str) -> dict[str, Any]:
        """The values of an item column, or of `interactions`, for each point."""
        if column == "interactions":
            return _shades(pl.Series(self.served.item_counts[self.shown]))
        return colours(self.served.items.frame[column].gather(self.shown))


def _some(number: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """All indices below `number`, or a random sample of them, ascending."""
    if number <= most:
        return np.arange(number)
    return np.sort(rng.choice(number, most, replace=False))


def tastes(served: ServedModel, nums: NDArray[np.integer]) -> NDArray[np.float32]:
    """(T,) item nums to the directions of their vectors (T, similarity_dim); zeros without one."""
    places = places_of(served.index.item_nums, nums)
    found = np.zeros((len(nums), served.similarity_dim), dtype=np.float32)
    there = places >= 0
    found[there] = served.index.vectors()[places[there], : served.similarity_dim]
    return normalized(found)


# --- names and colours --------------------------------------------------------------------------


def name_column(items: EntityTable) -> str | None:
    """The column with the names of items."""
    return next((column for column in NAME_COLUMNS if column in items.frame.columns), None)


def names(items: EntityTable) -> pl.Series:
    """(R,) the name of each item; its id if it has none."""
    column = name_column(items)
    ids = items.ids.cast(pl.String)
    if column is None:
        return ids
    return items.frame[column].cast(pl.String).fill_null(ids)


def can_colour(column: pl.Series) -> bool:
    """Whether a column is suitable for colouring the map: not constant and not too many values."""
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
    "names", "codes"}` with the most frequent values; code -1 stands for all others."""
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
    """Numbers with a range from the 2nd to the 98th percentile, to be robust to outliers."""
    numbers = column.cast(pl.Float64).fill_nan(None)
    low, high = numbers.quantile(0.02), numbers.quantile(0.98)
    return {"kind": "number", "low": low, "high": high, "values": numbers.to_list()}


def picture_column(items: EntityTable) -> str | None:
    """The column of the first image feature."""
    for feature in items.schema.columns("item").values():
        if feature.config.image_folder is not None:
            return feature.column
    return None
