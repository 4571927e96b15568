"""`number`: a number, standardised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from twotower.config.feature_type import (
    Feature,
    FeatureConfig,
    FeatureDescription,
    SavedFeature,
    register_feature,
)
from twotower.data.features.cells import refuse_nested
from twotower.data.features.standard import MAX_DEVIATIONS, mean_and_deviation
from twotower.data.features.vocabulary import PADDING
from twotower.data.values.numbers import to_numbers
from twotower.data.values.request_values import typed_values
from twotower.data.values.spelling import to_integers
from twotower.models.layers.embedding import EmbeddingTable
from twotower.models.layers.feature_encoder import FeatureEncoder


@register_feature
class NumberConfig(FeatureConfig):
    """A number, standardised, with an indicator for missing values."""

    type: Literal["number"]
    log: bool = False
    """Apply log(1 + x) first. Use it for prices and counts; values must not be negative."""
    num_bins: int = Field(default=0, ge=0)
    """Number of quantile bins that are embedded in addition to the value; 0: none."""
    decimal: Literal[".", ","] = "."
    """Decimal separator of numbers written as text. The other sign, blanks and apostrophes are
    thousands separators. Currency signs and codes are ignored: `€16.02`, `35.73 EUR`."""

    meaning: ClassVar[str] = (
        "The standardised value, a flag for missing ones if training has any, and, with bins, the "
        "embedding of its bin."
    )
    precedence: ClassVar[int] = 3

    def read(
        self, column: pl.Series, *, file: str | None = None, rows: bool = True
    ) -> NDArray[np.float64]:
        """A column as numbers (R,), NaN where they are missing."""
        return to_numbers(column, decimal=self.decimal, log=self.log, file=file, rows=rows)

    def fit(self, name: str, column: pl.Series) -> NumberFeature:
        values = self.read(column)
        known = values[~np.isnan(values)]
        mean, deviation = mean_and_deviation(known)
        edges: tuple[float, ...] = ()
        if self.num_bins and len(known):
            quantiles = np.linspace(0, 1, self.num_bins + 1)[1:-1]
            edges = tuple(float(edge) for edge in np.unique(np.quantile(known, quantiles)))
        has_missing = len(known) < len(values) or not len(known)
        return NumberFeature(name, self, mean, deviation, edges, has_missing)

    def load(self, name: str, saved: SavedFeature) -> NumberFeature:
        """States of older bundles do not say whether training lacked values."""
        state = saved.state
        return NumberFeature(
            name,
            self,
            state["mean"],
            state["deviation"],
            tuple(state["edges"]),
            state.get("has_missing", True),
        )

    def check(
        self,
        column: pl.Series,
        *,
        file: str | None = None,
        rows: bool = True,
        keys: str = "the feature's ",
    ) -> Self:
        refuse_nested(column, file)
        self.read(column, file=file, rows=rows)
        return self

    def kept(self, column: pl.Series, *, file: str | None = None) -> pl.Series:
        """Numbers, their nulls kept; integers where all are written so."""
        if column.dtype.is_integer():
            return column
        numbers = pl.Series(column.name, to_numbers(column, decimal=self.decimal, file=file))
        numbers = numbers.fill_nan(None)
        integers = to_integers(column) if column.dtype == pl.String else numbers.cast(pl.Int64)
        whole = column.dtype in (pl.String, pl.Boolean) and (
            integers.null_count() == numbers.null_count()
        )
        return integers if whole else numbers

    def from_request(self, name: str, values: Sequence[Any]) -> pl.Series | None:
        """Numbers and text that spells numbers, beside each other."""
        typed = typed_values(name, values)
        if typed is not None or any(isinstance(value, list) for value in values):
            return typed
        texts = [value if isinstance(value, str) else None for value in values]
        read = to_numbers(pl.Series(name, texts, pl.String), decimal=self.decimal)
        numbers = [
            number if value is None or isinstance(value, str) else float(value)
            for value, number in zip(values, read, strict=True)
        ]
        return pl.Series(name, numbers, pl.Float64).fill_nan(None)

    def count(self, column: pl.Series) -> tuple[int, int]:
        return super().count(pl.Series(self.read(column)).fill_nan(None))


@dataclass(frozen=True)
class NumberFeature(Feature):
    """A number. Encoded as (R, 2 + has bins) float32: value, missing flag, bin num.

    The value is standardised with the training part's mean and deviation and is 0 where it is
    missing. Bin 0 is missing, bins 1 .. num_bins are quantiles of training.

    Where training lacked no value, nothing has been learned of the flag, which is then never set.

    Attributes:
        config: as declared.
        mean, deviation: of the training part.
        edges: between the bins.
        has_missing: whether some training row lacked the value.
    """

    config: NumberConfig
    mean: float
    deviation: float
    edges: tuple[float, ...] = ()
    has_missing: bool = True

    @property
    def num_bins(self) -> int:
        """Bins in use, the one for missing values included; 0 without bins."""
        return len(self.edges) + 2 if self.config.num_bins else 0

    def encode(self, column: pl.Series, *, file: str | None = None) -> NDArray[np.float32]:
        """(R, 2) or (R, 3) float32."""
        values = self.config.read(column, file=file)
        missing = np.isnan(values)
        standard = np.where(missing, 0.0, (values - self.mean) / self.deviation)
        standard = standard.clip(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        parts = [standard, missing & self.has_missing]
        if self.num_bins:
            bins = np.searchsorted(np.array(self.edges), values, side="right") + 1
            parts.append(np.where(missing, 0, bins))
        return np.stack(parts, axis=1).astype(np.float32)

    def save(self) -> SavedFeature:
        return SavedFeature(
            {
                "mean": self.mean,
                "deviation": self.deviation,
                "edges": list(self.edges),
                "has_missing": self.has_missing,
            }
        )

    def describe(self) -> FeatureDescription:
        """The usual range is two standard deviations around the mean of training; of a logarithm,
        where `log` is set."""
        ends = [self.mean + many * self.deviation for many in (-2, 0, 2)]
        low, middle, high = (float(np.expm1(end)) if self.config.log else end for end in ends)
        return FeatureDescription(usual_range=(low, middle, high))

    def make_encoder(self, embedding_dim: int, generator: torch.Generator | None) -> NumberEncoder:
        return NumberEncoder(self, generator)

    @property
    def num_terms(self) -> int:
        return self.num_bins

    def terms(self, encoded: Tensor) -> Tensor:
        return encoded[:, -1:].long()


class NumberEncoder(FeatureEncoder):
    """(R, 2 or 3) of value, missing flag, bin to (R, W): value, flag, and the bin's embedding."""

    BIN_WIDTH = 8

    def __init__(self, feature: NumberFeature, generator: torch.Generator | None) -> None:
        super().__init__()
        self.width = 2 + (self.BIN_WIDTH if feature.num_bins else 0)
        # In training the flag tells a missing value, so that the padding row's 0 is right for it.
        self.bins = (
            EmbeddingTable(
                feature.num_bins, self.BIN_WIDTH, column=feature.column, generator=generator
            )
            if feature.num_bins
            else None
        )

    def is_missing(self, values: Tensor) -> Tensor:
        """(R,) bool, of what `forward` reads; without bins a value like the mean says the same."""
        return values[:, -1] == 0 if self.bins is not None else values[:, 1] != 0

    def impute_missing(self, mean: Tensor, share: float) -> None:
        """Where no row of training lacked a value, bin 0 is read as the mean of the others."""
        if self.bins is not None and share == 1:
            self.bins.weight[PADDING].copy_(mean[2:])

    def forward(self, values: Tensor) -> Tensor:
        """(R, 2 or 3) float32 to (R, W)."""
        if self.bins is None:
            return values
        return torch.cat([values[:, :2], self.bins(values[:, 2].long())], dim=1)
