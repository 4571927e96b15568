"""The map: the item vectors in two dimensions, with names and colours.

Shapes: N item vectors, T vector coordinates without the bias, P points shown, R rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.arrays.top_k import places_of
from twotower.data.dataset.entities import EntityTable
from twotower.serving.answer.reasons import normalized
from twotower.serving.bundle.served_model import ServedModel
from twotower.serving.overlay.catalogue import NAME_COLUMNS
from twotower.web.studio.layout import (
    MAX_ARRANGED,
    NEIGHBOURS,
    Neighbourhoods,
    Projection,
    can_arrange,
    kept_neighbours,
)

MAX_POINTS: Final = 20_000
"""Maximum number of points; of a larger catalogue a random sample is shown."""
MAX_FITTED: Final = 50_000
"""Maximum number of vectors that the projection is fitted on."""
NUM_COLOURS: Final = 9
"""Number of column values with a colour of their own."""


@dataclass(frozen=True, eq=False)
class ItemMap:
    """Positions of the items of a served model.

    Attributes:
        served: the model.
        layout: fitted on its item vectors.
        shown: (P,) item nums of the points, ascending.
        points: (P, 2) their positions.
    """

    served: ServedModel
    layout: Projection | Neighbourhoods
    shown: NDArray[np.int64]
    points: NDArray[np.float32]

    @staticmethod
    def of(served: ServedModel) -> ItemMap:
        """By the principal components of the directions of the item vectors."""
        shown, fitted = drawn(served)
        layout = Projection.fit(tastes(served, fitted))
        return ItemMap(served, layout, shown, layout(tastes(served, shown)))

    @staticmethod
    def by_neighbours(served: ServedModel) -> ItemMap:
        """Similar items together, `MAX_ARRANGED` of them; takes seconds. See `can_arrange`."""
        shown, _ = drawn(served)
        shown = shown[_some(len(shown), MAX_ARRANGED, np.random.default_rng(0))]
        layout = Neighbourhoods.fit(tastes(served, shown))
        return ItemMap(served, layout, shown, layout.points)

    def places(self, nums: NDArray[np.integer]) -> NDArray[np.float32]:
        """(R,) item nums to positions (R, 2); NaN for an item without a vector."""
        points = self.layout(tastes(self.served, nums))
        points[places_of(self.served.index.item_nums, nums) < 0] = np.nan
        return points

    def place(self, vector: NDArray[np.float32]) -> list[float]:
        """The position of a query or item vector (D,), by its direction, without the bias."""
        direction = normalized(vector[None, : self.served.similarity_dim])
        place: list[float] = self.layout(direction)[0].round(4).tolist()
        return place

    @cached_property
    def kept(self) -> float | None:
        """The share of true neighbours that the map keeps; see `kept_neighbours`."""
        return kept_neighbours(tastes(self.served, self.shown), self.points)

    def to_json(self) -> dict[str, Any]:
        """The points with their names, and what the layout keeps of the vectors."""
        items, layout = self.served.items, self.layout
        rounded = np.round(self.points, 4)
        explained = layout.explained.sum() if isinstance(layout, Projection) else None
        return {
            "total": len(self.served.index.item_nums),
            "explained": None if explained is None else float(explained),
            "kept": self.kept,
            "neighbours": NEIGHBOURS,
            "can_arrange": can_arrange(len(self.shown)),
            "item_id": items.ids.gather(self.shown).to_list(),
            "name": names(items).gather(self.shown).to_list(),
            "x": rounded[:, 0].tolist(),
            "y": rounded[:, 1].tolist(),
        }

    def colours(self, column: str) -> dict[str, Any]:
        """The values of an item column, or of `interactions`, for each point."""
        if column == "interactions":
            return _shades(pl.Series(self.served.item_counts[self.shown]))
        return colours(self.served.items.frame[column].gather(self.shown))


def drawn(served: ServedModel) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Item nums to show, and those to fit a projection on, ascending: all, or a random sample."""
    nums, rng = served.index.item_nums, np.random.default_rng(0)
    fitted = nums[_some(len(nums), MAX_FITTED, rng)]
    return fitted[_some(len(fitted), MAX_POINTS, rng)], fitted


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
