"""Histories to vectors: what the query tower reads of a user's last interactions.

Shapes: B histories, L places, D embedding_dim, H heads. Place 0 is the beginning. Each encoder
gives a vector for every place, made of that place and those before it alone, so that one pass over
a history trains on all of its positions, and serving takes the last place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from twotower.data.history import History, HistoryFeature
from twotower.models.embedding import EmbeddingTable

HIDDEN = 2
"""Width of a transformer layer's hidden layer, as a multiple of D."""


class HistoryEncoder(nn.Module):
    """Items of histories (B, L, D) to vectors (B, L, D), one a place.

    Items get their event type's embedding; an empty history has a learned vector, that of the
    beginning. Ages are those before the newest event that a place knows.
    """

    def __init__(
        self, feature: HistoryFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        config = feature.config
        self.beginning = nn.Parameter(torch.zeros(embedding_dim))
        self.events = (
            None
            if feature.event_types is None
            else EmbeddingTable.from_vocabulary(
                feature.event_types, embedding_dim, column="event_type", generator=generator
            )
        )
        self.dropout = nn.Dropout(config.dropout)
        body: Callable[..., nn.Module] = {
            "mean": Mean,
            "attention": Attention,
            "transformer": Transformer,
        }[config.encoder]
        self.body = body(feature, embedding_dim, generator)

    def forward(self, items: Tensor, history: History) -> Tensor:
        """(B, L, D) vectors of the items, and what is known of their events."""
        if self.events is not None and history.event_num is not None:
            items = items + self.events(history.event_num)
        there = (history.item_num != 0)[:, :, None]
        tokens = torch.where(there, items, 0.0)
        beginning = self.beginning.expand(len(tokens), 1, -1)
        tokens = self.dropout(torch.cat([beginning, tokens[:, 1:]], dim=1))
        sight = Sight.of(history, beginning=isinstance(self.body, Transformer))
        vectors: Tensor = self.body(tokens, sight)
        return vectors


class Sight(NamedTuple):
    """What the places of histories may look at.

    Attributes:
        penalty: (B, 1, L, L) 0 where place j may look at place i, else -inf.
        log_age: (B, 1, L, L) log2(1 + hours that place i was before place j), or None.
    """

    penalty: Tensor
    log_age: Tensor | None

    @staticmethod
    def of(history: History, *, beginning: bool) -> Sight:
        """Neither later places nor places without an event are looked at. Without `beginning`, that
        one is only looked at where there is nothing else."""
        length = history.item_num.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=history.mask.device).tril()
        seen = causal & history.mask[:, None, :]
        if not beginning and length > 1:
            alone = ~(seen[:, :, 1:].any(dim=2))
            seen = torch.cat([alone[:, :, None], seen[:, :, 1:]], dim=2)
        penalty = torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, -torch.inf)
        log_age = None if history.time is None else log_ages(history.time)[:, None]
        return Sight(penalty[:, None], log_age)


def log_ages(time: Tensor) -> Tensor:
    """(B, L) seconds to (B, L, L): log2(1 + hours that place i was before place j)."""
    seconds = (time[:, :, None] - time[:, None, :]).clamp(min=0).float()
    return torch.log2(1 + seconds / 3600)


class Ages(nn.Module):
    """Attention to an event falls, or rises, as a learned power of its age: a bias of
    -slope * log2(1 + hours), with a slope for each head."""

    def __init__(self, feature: HistoryFeature, num_heads: int) -> None:
        super().__init__()
        used = feature.has_times and feature.config.ages
        self.slope = nn.Parameter(torch.zeros(num_heads, 1, 1)) if used else None

    def forward(self, logits: Tensor, sight: Sight) -> Tensor:
        """Logits (B, H, L, L) to the weights of what is seen, each row adding up to 1."""
        logits = logits + sight.penalty
        if self.slope is not None and sight.log_age is not None:
            logits = logits - self.slope * sight.log_age
        return logits.softmax(dim=-1)


class Mean(nn.Module):
    """The mean of the items so far, each weighted by its age."""

    def __init__(
        self, feature: HistoryFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.ages = Ages(feature, 1)

    def forward(self, tokens: Tensor, sight: Sight) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        weights = self.ages(torch.zeros_like(sight.penalty), sight)
        mean: Tensor = weights[:, 0] @ tokens
        return mean


class Attention(nn.Module):
    """The newest item asks which of the items so far matter.

    vector_j = V sum_i softmax_i(q(x_j) . k(x_i) / sqrt(D / H) - slope log age) x_i + x_j
    """

    def __init__(
        self,
        feature: HistoryFeature,
        embedding_dim: int,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.num_heads = feature.config.num_heads
        self.ages = Ages(feature, self.num_heads)
        self.inputs = _linear(embedding_dim, 3 * embedding_dim, generator)
        self.output = _linear(embedding_dim, embedding_dim, generator)

    def forward(self, tokens: Tensor, sight: Sight) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        mixed: Tensor = tokens + self.mix(tokens, sight)
        return mixed

    def mix(self, tokens: Tensor, sight: Sight) -> Tensor:
        """The sum without x_j."""
        batch, length, dim = tokens.shape
        parts = self.inputs(tokens).view(batch, length, 3, self.num_heads, dim // self.num_heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        query = query * (dim // self.num_heads) ** -0.5
        weights = self.ages(query @ key.transpose(2, 3), sight)
        mixed = (weights @ value).transpose(1, 2).reshape(batch, length, dim)
        output: Tensor = self.output(mixed)
        return output


class Transformer(nn.Module):
    """Layers of causal self-attention. Source: Kang & McAuley 2018, "Self-attentive sequential
    recommendation"; here with the norm before each part of a layer."""

    def __init__(
        self, feature: HistoryFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        config = feature.config
        places = torch.empty(config.max_length, embedding_dim)
        self.places = (
            nn.Parameter(places.normal_(0, 0.02, generator=generator))
            if feature.has_times
            else None
        )
        self.layers = nn.ModuleList(
            TransformerLayer(feature, embedding_dim, generator) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(embedding_dim)

    def forward(self, tokens: Tensor, sight: Sight) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        if self.places is not None:
            tokens = tokens + self.places[: tokens.shape[1]]
        for layer in self.layers:
            tokens = layer(tokens, sight)
        vectors: Tensor = self.norm(tokens)
        return vectors


class TransformerLayer(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(
        self, feature: HistoryFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(embedding_dim)
        self.attention = Attention(feature, embedding_dim, generator)
        self.mlp_norm = nn.LayerNorm(embedding_dim)
        self.mlp = nn.Sequential(
            _linear(embedding_dim, HIDDEN * embedding_dim, generator),
            nn.GELU(),
            _linear(HIDDEN * embedding_dim, embedding_dim, generator),
        )
        self.dropout = nn.Dropout(feature.config.dropout)

    def forward(self, tokens: Tensor, sight: Sight) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        tokens = tokens + self.dropout(self.attention.mix(self.attention_norm(tokens), sight))
        vectors: Tensor = tokens + self.dropout(self.mlp(self.mlp_norm(tokens)))
        return vectors


def _linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        bound = (3.0 / (inputs + outputs)) ** 0.5
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.zero_()
    return layer
