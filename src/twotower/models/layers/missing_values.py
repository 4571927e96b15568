"""Missing values of features that training hardly ever lacked.

A missing value is read as a learned vector. Where every training row has a value, that vector is
never learned: it stays 0, while the layers behind it have come to expect the mean of the others. A
visitor of whom only a few events are known would be read unlike any user of training. So the vector
is the mean of those of the training rows, as far as training has not seen it.

Shapes: R users, items or rows of training, W width of an encoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from twotower.data.dataset.entities import Column, EntityTable
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.schema import Side

AS_MANY: Final = 20
"""The mean counts as much as what so many training rows without the value have taught."""
MAX_ROWS: Final = 20_000
"""Of more users or items, the mean is that of so many, evenly spaced."""
CHUNK: Final = 1024
"""Rows that are encoded at once."""
MANY: Final = 100_000
"""Rows that are looked through at once."""


@runtime_checkable
class LearnsMissing(Protocol):
    """An encoder that reads rows without a value in a way of its own."""

    def is_missing(self, values: Column) -> Tensor:
        """(R,) bool, of encoded values (R, ...)."""
        ...

    def impute_missing(self, mean: Tensor, share: float) -> None:
        """Move what is read of a missing value towards the mean encoding (W,) of the others; by
        all of the way where `share` is 1, as it is if training has seen none."""
        ...


class ReadsFeatures(Protocol):
    """A part of a model with an encoder for each feature."""

    names: tuple[str, ...]
    encoders: nn.ModuleList


class ReadColumn(NamedTuple):
    """A feature as training read it.

    Attributes:
        column: (R, ...) of the users or items that training saw, or of its rows.
        times: (R,) how many training rows each was read in.
    """

    column: Column
    times: NDArray[np.int64]


def columns_of_training(train: Interactions) -> dict[Side, dict[str, ReadColumn]]:
    """The features of the users and items that training saw, and the contexts of its rows."""
    found: dict[Side, dict[str, ReadColumn]] = {}
    once = np.ones(len(train), dtype=np.int64)
    found["context"] = {name: ReadColumn(column, once) for name, column in train.context.items()}
    sides: tuple[tuple[Side, EntityTable, NDArray[np.int32]], ...] = (
        ("user", train.users, train.user_num),
        ("item", train.items, train.item_num),
    )
    for side, table, nums in sides:
        seen = slice(table.first_known, table.end_warm)
        times = np.bincount(nums, minlength=len(table))[seen]
        found[side] = {
            name: ReadColumn(column[seen], times) for name, column in table.features.items()
        }
    return found


@torch.no_grad()
def impute_missing(part: ReadsFeatures, columns: Mapping[str, ReadColumn]) -> None:
    """Move what trained encoders read of missing values towards the mean of the others, in place.
    Those without a vector for missing values stay as they are.

    Args:
        part: has the encoders.
        columns: name -> what training read.
    """
    for name, encoder in zip(part.names, part.encoders, strict=True):
        if isinstance(encoder, LearnsMissing):
            _impute(encoder, *columns[name])


def _impute(encoder: LearnsMissing, column: Column, times: NDArray[np.int64]) -> None:
    assert isinstance(encoder, nn.Module)
    device = next(encoder.parameters(), torch.zeros(0)).device
    missing = np.zeros(len(column), dtype=np.bool_)
    for start in range(0, len(column), MANY):
        some = column[start : start + MANY].to(device)
        missing[start : start + MANY] = encoder.is_missing(some).cpu().numpy()
    known = np.flatnonzero(~missing)
    if not len(known):
        return
    if len(known) > MAX_ROWS:
        known = known[np.linspace(0, len(known) - 1, MAX_ROWS).astype(np.int64)]
    total = torch.zeros((), dtype=torch.float64)
    for rows in torch.split(torch.from_numpy(known), CHUNK):
        # Some devices have no numbers of 64 bits.
        total = total + encoder(column.index_select(0, rows).to(device)).sum(dim=0).cpu().double()
    share = AS_MANY / (AS_MANY + int(times[missing].sum()))
    encoder.impute_missing((total / len(known)).float().to(device), share)
