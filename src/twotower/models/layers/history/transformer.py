"""Layers of causal self-attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from twotower.data.features.histories import HistoryFeature
from twotower.models.kernels.dropout import Dropout
from twotower.models.layers.history.attention import SelfAttention, history_linear
from twotower.models.layers.history.base import SequenceEncoder, register_history_encoder
from twotower.models.layers.history.view import HistoryView
from twotower.models.layers.initial import draw_normal

HIDDEN = 2
"""Width of a layer's hidden layer, as a multiple of D."""


@register_history_encoder("transformer")
class Transformer(SequenceEncoder):
    """Layers of causal self-attention. Source: Kang & McAuley 2018, "Self-attentive sequential
    recommendation"; here with the norm before each part of a layer."""

    reads_start = True

    def __init__(
        self, feature: HistoryFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__(feature, embedding_dim, generator)
        config = feature.config
        self.places = None
        if feature.has_times:
            self.places = nn.Parameter(torch.empty(config.max_length, embedding_dim))
            draw_normal(self.places, 0.02, generator)
        self.layers = nn.ModuleList(
            TransformerLayer(feature, embedding_dim, generator) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(embedding_dim)

    def forward(self, tokens: Tensor, view: HistoryView) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        if self.places is not None:
            tokens = tokens + self.places[: tokens.shape[1]]
        rows = view.pack(tokens)
        for layer in self.layers:
            rows = layer(rows, view)
        return view.unpack(self.norm(rows))


class TransformerLayer(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(
        self, feature: HistoryFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(embedding_dim)
        self.attention = SelfAttention(feature, embedding_dim, generator)
        self.mlp_norm = nn.LayerNorm(embedding_dim)
        self.mlp = nn.Sequential(
            history_linear(embedding_dim, HIDDEN * embedding_dim, generator),
            nn.GELU(),
            history_linear(HIDDEN * embedding_dim, embedding_dim, generator),
        )
        self.dropout = Dropout(feature.config.dropout)

    def forward(self, rows: Tensor, view: HistoryView) -> Tensor:
        """The positions that hold an event, (T, D) to (T, D)."""
        rows = self.dropout.add(rows, self.attention(self.attention_norm(rows), view))
        return self.dropout.add(rows, self.mlp(self.mlp_norm(rows)))
