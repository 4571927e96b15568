"""The mean of the items, weighted by their ages."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from twotower.data.features.histories import History, HistoryFeature
from twotower.models.layers.history.base import (
    SequenceEncoder,
    make_slopes,
    register_history_encoder,
)
from twotower.models.layers.history.view import HistoryView, log_hours


@register_history_encoder("mean")
class Mean(SequenceEncoder):
    """The mean of the items so far, each weighted by its age, times the root of their number.

    So it is as in SVD++ (Koren 2008), whose sum is divided by that root: in a plain mean of 20
    events each one counts a twentieth of what it counts alone, and what follows from it is hardly
    learned. With weights w of ages the number is (sum w)² / sum w², that of equal weights of the
    same variance.
    """

    def __init__(
        self, feature: HistoryFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__(feature, embedding_dim, generator)
        self.slopes = make_slopes(feature, 1)

    def forward(self, tokens: Tensor, view: HistoryView) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        return self.weights(view) @ tokens

    def encode_newest(self, tokens: Tensor, history: History) -> Tensor:
        """(B, L, D) to (B, D), without looking at the other positions."""
        hidden = ~history.mask
        hidden[:, 0] = history.mask[:, 1:].any(dim=1)
        logits = torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, -torch.inf)
        if self.slopes is not None and history.time is not None:
            now = history.at_newest(history.time)
            logits = logits - self.slopes * log_hours(now[:, None] - history.time)
        return (unit(logits)[:, None] @ tokens)[:, 0]

    def weights(self, view: HistoryView) -> Tensor:
        """(B, L, L), the squares of each row adding up to 1."""
        logits = view.penalty
        if self.slopes is not None and view.log_age is not None:
            logits = logits - self.slopes * view.log_age
        return unit(logits)


def unit(logits: Tensor) -> Tensor:
    """(..., L) to weights proportional to exp(logits), whose squares add up to 1."""
    return F.normalize(logits.softmax(dim=-1), dim=-1)
