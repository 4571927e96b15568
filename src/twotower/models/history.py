"""Histories to vectors: what the query tower reads of a user's last interactions.

Shapes: B histories, L places, D embedding_dim, H heads. Place 0 is the beginning. Each encoder
gives a vector for every place, made of that place and those before it alone, so that one pass over
a history trains on all of its positions, and serving takes the last place.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twotower.data.history import History, HistoryFeature
from twotower.models.embedding import EmbeddingTable

NUM_AGES = 24
"""Buckets of ages, each twice as old as the one before: the first below an hour, the last above 900
years."""
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
        vectors: Tensor = self.body(tokens, history)
        return vectors


class Ages(nn.Module):
    """A learned bias for each age of an event, to be added to attention."""

    def __init__(self, feature: HistoryFeature, num_heads: int) -> None:
        super().__init__()
        used = feature.has_times and feature.config.ages
        self.num_heads = num_heads
        self.bias = nn.Parameter(torch.zeros(NUM_AGES, num_heads)) if used else None

    def forward(self, time: Tensor | None) -> Tensor | None:
        """(B, L) seconds to (B, H, L, L): how much place j is to look at place i."""
        if self.bias is None or time is None:
            return None
        biases = F.embedding(age_buckets(time), self.bias)
        return biases.permute(0, 3, 1, 2)


def age_buckets(time: Tensor) -> Tensor:
    """(B, L) seconds to (B, L, L) int64: the bucket of how long before place j place i was."""
    hours = (time[:, :, None] - time[:, None, :]).clamp(min=0).float() / 3600
    return (1 + hours).log2().long().clamp(max=NUM_AGES - 1)


def visible(history: History, *, beginning: bool) -> Tensor:
    """(B, L, L) bool: whether place j may look at place i: not at later ones, nor at places without
    an event. Without `beginning`, that one is only looked at where there is nothing else."""
    length = history.item_num.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=history.mask.device).tril()
    seen = causal & history.mask[:, None, :]
    if not beginning and length > 1:
        alone = ~(seen[:, :, 1:].any(dim=2))
        seen = torch.cat([alone[:, :, None], seen[:, :, 1:]], dim=2)
    return seen


class Mean(nn.Module):
    """The mean of the items so far, each weighted by its age."""

    def __init__(
        self, feature: HistoryFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.ages = Ages(feature, 1)

    def forward(self, tokens: Tensor, history: History) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        seen = visible(history, beginning=False)
        bias = self.ages(history.time)
        logits = seen.new_zeros(seen.shape, dtype=tokens.dtype) if bias is None else bias[:, 0]
        return _weights(logits, seen) @ tokens


class Attention(nn.Module):
    """The newest item asks which of the items so far matter.

    vector_j = V sum_i softmax_i(q(x_j) . k(x_i) / sqrt(D / H) + age bias) x_i + x_j
    """

    def __init__(
        self,
        feature: HistoryFeature,
        embedding_dim: int,
        generator: torch.Generator | None,
        *,
        beginning: bool = False,
    ) -> None:
        super().__init__()
        self.num_heads = feature.config.num_heads
        self.beginning = beginning
        self.ages = Ages(feature, self.num_heads)
        self.inputs = _linear(embedding_dim, 3 * embedding_dim, generator)
        self.output = _linear(embedding_dim, embedding_dim, generator)

    def forward(self, tokens: Tensor, history: History) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        mixed: Tensor = tokens + self.mix(tokens, history)
        return mixed

    def mix(self, tokens: Tensor, history: History) -> Tensor:
        """The sum without x_j."""
        batch, length, dim = tokens.shape
        parts = self.inputs(tokens).view(batch, length, 3, self.num_heads, dim // self.num_heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        logits = query @ key.transpose(2, 3) * (dim // self.num_heads) ** -0.5
        bias = self.ages(history.time)
        if bias is not None:
            logits = logits + bias
        seen = visible(history, beginning=self.beginning)[:, None]
        mixed = (_weights(logits, seen) @ value).transpose(1, 2).reshape(batch, length, dim)
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

    def forward(self, tokens: Tensor, history: History) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        if self.places is not None:
            tokens = tokens + self.places[: tokens.shape[1]]
        for layer in self.layers:
            tokens = layer(tokens, history)
        vectors: Tensor = self.norm(tokens)
        return vectors


class TransformerLayer(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(
        self, feature: HistoryFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(embedding_dim)
        self.attention = Attention(feature, embedding_dim, generator, beginning=True)
        self.mlp_norm = nn.LayerNorm(embedding_dim)
        self.mlp = nn.Sequential(
            _linear(embedding_dim, HIDDEN * embedding_dim, generator),
            nn.GELU(),
            _linear(HIDDEN * embedding_dim, embedding_dim, generator),
        )
        self.dropout = nn.Dropout(feature.config.dropout)

    def forward(self, tokens: Tensor, history: History) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        tokens = tokens + self.dropout(self.attention.mix(self.attention_norm(tokens), history))
        vectors: Tensor = tokens + self.dropout(self.mlp(self.mlp_norm(tokens)))
        return vectors


def _weights(logits: Tensor, seen: Tensor) -> Tensor:
    """Softmax over what is seen; every place sees at least one."""
    return logits.masked_fill(~seen, -torch.inf).softmax(dim=-1)


def _linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        bound = (3.0 / (inputs + outputs)) ** 0.5
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.zero_()
    return layer
