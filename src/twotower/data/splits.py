"""Training, validation and test: how they are cut, and what each cut can leak."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from twotower.config import SplitConfig, SplitMethod
from twotower.data.tables import Tables


@dataclass(frozen=True)
class Parts:
    """Raw rows of the three parts, columns as in `Tables.interactions`.

    Attributes:
        method: how they were cut.
        leak: one sentence that says whether the future can leak into training.
    """

    train: pl.DataFrame
    validation: pl.DataFrame
    test: pl.DataFrame
    method: SplitMethod
    leak: str


def split_interactions(tables: Tables, config: SplitConfig) -> Parts:
    """Cut the interactions as the config says."""
    raise NotImplementedError
