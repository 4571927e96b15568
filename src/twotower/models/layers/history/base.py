"""What every history encoder is, and the registry that configs choose one from.

Shapes: B histories, L positions, D embedding_dim. Position 0 is the start of the history. An
encoder gives a vector for every position, made of that position and those before it alone, so that
one pass over a history trains on all of its positions, and serving takes the last one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from twotower.config import registries
from twotower.data.features.histories import History, HistoryFeature
from twotower.models.layers.history.view import HistoryView
from twotower.registry import Registry, registering


class SequenceEncoder(nn.Module, ABC):
    """The vectors of a history's items to a vector for each position.

    `register_history_encoder` gives a subclass the name by which configs choose it
    (`features.user.history.encoder`).

    >>> tt.SequenceEncoder.reads_start
    False
    """

    reads_start: ClassVar[bool] = False
    """Whether positions with events look at the start, too; its token is a learned vector."""

    def __init__(
        self, feature: HistoryFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        """Make the layers.

        Args:
            feature: the fitted history: its config, and whether there are times.
            embedding_dim: D.
            generator: draws the initial weights; None for torch's own.
        """
        super().__init__()
        del feature, embedding_dim, generator

    @abstractmethod
    def forward(self, tokens: Tensor, view: HistoryView) -> Tensor:
        """(B, L, D) to (B, L, D); a position may depend on those that `view` shows it alone."""

    def encode_newest(self, tokens: Tensor, history: History) -> Tensor:
        """The vector of the newest event's position alone, (B, L, D) to (B, D)."""
        view = HistoryView.of(history, reads_start=self.reads_start)
        return history.at_newest(self(tokens, view))


HISTORY_ENCODERS: Registry[type[SequenceEncoder]] = registries.HISTORY_ENCODERS
"""History encoders by the name that `features.user.history.encoder` chooses them by."""


def register_history_encoder(
    name: str,
) -> Callable[[type[SequenceEncoder]], type[SequenceEncoder]]:
    """A class decorator that lets configs choose a `SequenceEncoder` by a name.

    >>> @tt.register_history_encoder("latest")
    ... class Latest(tt.SequenceEncoder):
    ...     def forward(self, tokens, view):
    ...         return tokens
    >>> config = tt.load_config("twotower.toml", [
    ...     'features.user.history.type="history"', 'features.user.history.encoder="latest"',
    ... ])
    >>> config.features.history.encoder
    'latest'

    Args:
        name: may not be that of another module's history encoder.
    """
    return registering(HISTORY_ENCODERS, name)


def make_slopes(feature: HistoryFeature, number: int) -> nn.Parameter | None:
    """Attention to an event falls, or rises, as a learned power of its age: a bias of
    -slope * log2(1 + hours), with a slope for each head; None where ages are not read."""
    used = feature.has_times and feature.config.ages
    return nn.Parameter(torch.zeros(number)) if used else None
