"""Attention of the newest item to those before it, next to their mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from twotower.data.features.histories import HistoryFeature
from twotower.models.kernels.attention import attend
from twotower.models.layers.history.base import (
    SequenceEncoder,
    make_slopes,
    register_history_encoder,
)
from twotower.models.layers.history.mean import Mean
from twotower.models.layers.history.view import HistoryView
from twotower.models.layers.mlp import linear

INITIAL_SCALE = 0.1
"""Factor of the initial weights of what is added to the mean."""


@register_history_encoder("attention")
class Attention(SequenceEncoder):
    """The newest item attends to the items so far, next to their mean.

    vector_j = mean_i x_i + V sum_i softmax_i(q(x_j) . k(x_i) / sqrt(D / H) - slope log age) v(x_i)
        + W x_j

    V and W are small at first: training starts from the mean, which is what there is to know of a
    history whose order matters little, and learns what the mean lacks.
    """

    def __init__(
        self, feature: HistoryFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__(feature, embedding_dim, generator)
        self.mean = Mean(feature, embedding_dim, generator)
        self.attention = SelfAttention(feature, embedding_dim, generator)
        self.newest = history_linear(embedding_dim, embedding_dim, generator)
        with torch.no_grad():
            self.attention.output.weight.mul_(INITIAL_SCALE)
            self.newest.weight.mul_(INITIAL_SCALE)

    def forward(self, tokens: Tensor, view: HistoryView) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        rows = view.pack(tokens)
        learned = self.attention(rows, view) + self.newest(rows)
        mixed: Tensor = self.mean(tokens, view) + view.unpack(learned)
        return mixed


def history_linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    """A linear layer whose initial weights suit both directions (`fan` = inputs + outputs)."""
    return linear(inputs, outputs, generator, fan=inputs + outputs)


class SelfAttention(nn.Module):
    """V sum_i softmax_i(q(x_j) . k(x_i) / sqrt(D / H) - slope log age) v(x_i)."""

    def __init__(
        self, feature: HistoryFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.num_heads = feature.config.num_heads
        self.slopes = make_slopes(feature, self.num_heads)
        self.inputs = history_linear(embedding_dim, 3 * embedding_dim, generator)
        self.output = history_linear(embedding_dim, embedding_dim, generator)

    def forward(self, rows: Tensor, view: HistoryView) -> Tensor:
        """The positions that hold an event, (T, D) to (T, D)."""
        parts = view.unpack(self.inputs(rows))
        log_age = None if self.slopes is None else view.log_age
        mixed = attend(parts, self.num_heads, view.penalty, log_age, self.slopes)
        output: Tensor = self.output(view.pack(mixed))
        return output
