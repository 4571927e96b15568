"""Interactions of each item by context: on a phone, in an app, in a shop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.dataset.entities import Features, tensor_of
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.categorical import CategoricalFeature
from twotower.data.features.schema import Schema
from twotower.data.features.vocabulary import PADDING, Vocabulary

PRIOR_ROWS = 100.0
"""Weight, in rows, of an item's share of the whole log in the estimate of its share in a
context."""


Context = tuple[tuple[str, int], ...]
"""Pairs of a context category and the num of its value that a request contains and training
knows."""


@dataclass(frozen=True)
class ContextCounts:
    """Training rows of items by the values of the context's categories.

    Attributes:
        frame: `feature`, `value` (its num), `item_num`, `count`; pairs without a row are omitted.
        vocabularies: of the categories.
    """

    frame: pl.DataFrame
    vocabularies: Mapping[str, Vocabulary]

    @staticmethod
    def fit(train: Interactions) -> ContextCounts | None:
        """Count a training part; None where its context has no category."""
        vocabularies = categories_of(train.users.schema)
        frames = []
        for name, vocabulary in vocabularies.items():
            value = tensor_of(train.context, name).numpy()
            rows = np.flatnonzero((value >= vocabulary.first_known) & (train.item_num >= 0))
            frame = pl.DataFrame(
                {"value": value[rows], "item_num": train.item_num[rows].astype(np.int64)}
            )
            counted = frame.group_by("value", "item_num").agg(count=pl.len().cast(pl.Int64))
            named = counted.with_columns(feature=pl.lit(name)).sort("value", "item_num")
            frames.append(named.select("feature", "value", "item_num", "count"))
        return ContextCounts(pl.concat(frames), vocabularies) if frames else None

    def groups(self, context: Features, number: int) -> list[tuple[Context, NDArray[np.int64]]]:
        """Queries (`number`) with the same context, and the rows of each group."""
        names = [name for name in self.vocabularies if name in context]
        if not names:
            return [((), np.arange(number))]
        columns = []
        for name in names:
            nums = tensor_of(context, name).cpu().numpy()
            known = nums >= self.vocabularies[name].first_known
            columns.append(np.where(known, nums, PADDING))
        values, group = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
        return [
            (
                tuple((n, v) for n, v in zip(names, row, strict=True) if v != PADDING),
                np.flatnonzero(group.ravel() == place),
            )
            for place, row in enumerate(values.tolist())
        ]

    def of(self, feature: str, value: int, num_items: int) -> NDArray[np.int64]:
        """(num_items,) rows of each item where `feature` had the value of that num."""
        rows = self.frame.filter(pl.col("feature") == feature, pl.col("value") == value)
        counts = np.zeros(num_items, dtype=np.int64)
        counts[rows["item_num"].to_numpy()] = rows["count"].to_numpy()
        return counts

    def lift(self, context: Context, item_counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """(R,) the factor by which each item is more or less popular in a context than in the whole
        log.

            product over features f of ((n_fi + m s_i) / (n_f + m)) / s_i,

        with s_i the item's share of the whole log, n_fi its rows where f has the context's value,
        n_f all rows there, and m = `PRIOR_ROWS`: the fewer rows a value has, the closer
        the factor is to 1. 1 for an item without a row.

        Args:
            context: an empty one gives ones.
            item_counts: (R,) rows of the whole log.
        """
        share = item_counts / max(item_counts.sum(), 1)
        lift: NDArray[np.float64] = np.ones_like(share)
        for feature, value in context:
            there = self.of(feature, value, len(item_counts))
            smoothed = (there + PRIOR_ROWS * share) / (there.sum() + PRIOR_ROWS)
            lift *= np.divide(smoothed, share, out=np.ones_like(share), where=share > 0)
        return lift


def categories_of(schema: Schema) -> dict[str, Vocabulary]:
    """The context's categories."""
    return {
        name: feature.vocabulary
        for name, feature in schema.columns("context").items()
        if isinstance(feature, CategoricalFeature) and not feature.multiple
    }
