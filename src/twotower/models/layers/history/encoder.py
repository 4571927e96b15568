"""Histories to vectors: what the query tower reads of a user's latest interactions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twotower.data.features.histories import History, HistoryFeature
from twotower.data.features.vocabulary import PADDING, Vocabulary
from twotower.models.kernels.dropout import Dropout
from twotower.models.layers.embedding import EmbeddingTable
from twotower.models.layers.history.base import HISTORY_ENCODERS
from twotower.models.layers.history.view import HistoryView

LEAST_ROWS = 16
"""Of a group of histories that are encoded together."""


class HistoryEncoder(nn.Module):
    """Items of histories (B, L, D) to vectors (B, L, D), one for each position.

    What an item means in a history need not be what it means as a candidate: the next part of a
    series is wanted, not the same one again. So with `items` each gets a vector of its own, 0 at
    first, that is added to what the item tower makes of it (as in Koren 2008, "Factorization meets
    the neighborhood", whose items have two). Items also get their event type's embedding; an empty
    history has a learned vector, that of the start. Ages are those before the newest event that a
    position knows.
    """

    def __init__(
        self,
        feature: HistoryFeature,
        embedding_dim: int,
        generator: torch.Generator | None,
        *,
        items: Vocabulary | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`items`: those that get a vector of their own, of this type.

        Raises:
            ConfigError: there is no history encoder of the config's name.
        """
        super().__init__()
        config = feature.config
        self.taken = None  # the name that saved weights have
        if items is not None:
            self.taken = EmbeddingTable.from_vocabulary(
                items, embedding_dim, column="item_id", generator=generator, dtype=dtype
            )
            with torch.no_grad():
                self.taken.weight.zero_()
        self.beginning = nn.Parameter(torch.zeros(embedding_dim))
        self.events = (
            None
            if feature.event_types is None
            else EmbeddingTable.from_vocabulary(
                feature.event_types, embedding_dim, column="event_type", generator=generator
            )
        )
        self.dropout = Dropout(config.dropout)
        self.body = HISTORY_ENCODERS[config.encoder](feature, embedding_dim, generator)

    def forward(self, items: Tensor, history: History, *, newest: bool = False) -> Tensor:
        """Vectors of positions.

        Args:
            items: (B, L, D) vectors of the items.
            history: what is known of their events.
            newest: encode the newest event's position alone.

        Returns:
            (B, L, D), or (B, D) of the newest event's position.
        """
        tokens = self._tokens(items, history)
        groups = alike_in_length(history)
        if len(groups) == 1:
            return self._encode(tokens, history, newest=newest)
        length = tokens.shape[1]
        parts = []
        for rows, longest in groups:
            part = self._encode(
                tokens.index_select(0, rows)[:, :longest],
                history.of_rows(rows, longest),
                newest=newest,
            )
            parts.append(part if newest else F.pad(part, (0, 0, 0, length - longest)))
        order = torch.cat([rows for rows, _ in groups])
        return torch.cat(parts).index_select(0, order.argsort())

    def _encode(self, tokens: Tensor, history: History, *, newest: bool) -> Tensor:
        if newest:
            return self.body.encode_newest(tokens, history)
        view = HistoryView.of(history, reads_start=self.body.reads_start)
        vectors: Tensor = self.body(tokens, view)
        return vectors

    def _tokens(self, items: Tensor, history: History) -> Tensor:
        if self.taken is not None:
            # Items that came after training have none.
            known = history.item_num < self.taken.num_embeddings
            items = items + self.taken(torch.where(known, history.item_num, PADDING))
        if self.events is not None and history.event_num is not None:
            items = items + self.events(history.event_num)
        start = self.beginning.expand(len(items), 1, -1)
        tokens: Tensor = self.dropout(torch.cat([start, items[:, 1:]], dim=1))
        return tokens


def alike_in_length(history: History) -> list[tuple[Tensor, int]]:
    """The rows of histories in groups, and the longest of each, so that short ones are not encoded
    at the length of the longest of all: its work grows with the square of the length. A group
    reaches down to half of its longest history. A GPU takes all at once.
    """
    every = torch.arange(len(history.mask), device=history.mask.device)
    whole = [(every, history.mask.shape[1])]
    if history.mask.device.type != "cpu" or len(every) < 2 * LEAST_ROWS:
        return whole
    lengths, order = history.mask.sum(dim=1).sort(descending=True, stable=True)
    groups, start = [], 0
    while start < len(order):
        longest = int(lengths[start])
        end = start + int((lengths[start:] > longest // 2).sum())
        end = max(end, min(start + LEAST_ROWS, len(order)))
        if len(order) - end < LEAST_ROWS:
            end = len(order)
        groups.append((order[start:end], longest))
        start = end
    return groups if len(groups) > 1 else whole
