"""Missing values of features that training hardly ever lacked.

A missing value is read as a learned vector. Where every training row has a value, that vector is
never learned: it stays 0, while the layers behind it have come to expect the mean of the others. A
visitor of whom nothing but a few events is known would be read as nobody ever was. So the vector is
the mean of those of the training rows, as far as training has not seen it.

Shapes: R training rows, W width of an encoding.
"""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from twotower.data.dataset.entities import Column, Features
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.schema import Side

AS_MANY: Final = 20
"""The mean counts as much as what so many rows without a value have taught."""
MAX_ROWS: Final = 20_000
"""Of more training rows, so many are read, evenly spaced."""
CHUNK: Final = 4096
"""Rows that are encoded at once."""


@runtime_checkable
class LearnsMissing(Protocol):
    """An encoder that reads rows without a value in a way of its own."""

    def is_missing(self, values: Column) -> Tensor:
        """(R,) bool, of encoded values (R, ...)."""
        ...

    def settle_missing(self, mean: Tensor, share: float) -> None:
        """Move what is read of a missing value towards the mean encoding (W,) of the others; by
        all of the way where `share` is 1, as it is if training has seen none."""
        ...


class ReadsFeatures(Protocol):
    """A part of a model with an encoder for each feature."""

    names: tuple[str, ...]
    encoders: nn.ModuleList


def rows_of_training(train: Interactions) -> dict[Side, Features]:
    """The features of the users and items that training saw, each once, and the context of its
    rows: name -> (R, ...)."""
    users, items = (
        {
            name: column[table.first_known : table.end_warm]
            for name, column in table.features.items()
        }
        for table in (train.users, train.items)
    )
    return {"user": users, "item": items, "context": train.context}


@torch.no_grad()
def settle_missing(part: ReadsFeatures, features: Features) -> None:
    """Move what trained encoders read of missing values towards the mean of the others, in place.
    Those without a vector for missing values stay as they are.

    Args:
        part: has the encoders.
        features: name -> (R, ...), the rows of training.
    """
    for name, encoder in zip(part.names, part.encoders, strict=True):
        if isinstance(encoder, LearnsMissing) and len(features[name]):
            _settle(encoder, features[name])


def _settle(encoder: LearnsMissing, column: Column) -> None:
    assert isinstance(encoder, nn.Module)
    device = next(encoder.parameters(), torch.zeros(0)).device
    number, known = min(len(column), MAX_ROWS), 0
    rows, total = torch.arange(number) * len(column) // number, torch.zeros(0)
    for part in torch.split(rows, CHUNK):
        values = column.index_select(0, part).to(device)
        there = ~encoder.is_missing(values)
        summed = encoder(values)[there].sum(dim=0, dtype=torch.float64)
        total, known = summed if not known else total + summed, known + int(there.sum())
    if known:
        lacking = len(column) * (number - known) / number
        encoder.settle_missing((total / known).float(), AS_MANY / (AS_MANY + lacking))
