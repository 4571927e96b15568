"""Histories to vectors: what the query tower reads of a user's last interactions.

Shapes: B histories, L places, D embedding_dim, H heads. Place 0 is the beginning. Each encoder
gives a vector for every place, made of that place and those before it alone, so that one pass over
a history trains on all of its positions, and serving takes the last place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twotower.data.features.histories import History, HistoryFeature
from twotower.data.features.vocabulary import PADDING, Vocabulary
from twotower.models.kernels.attention import attend
from twotower.models.kernels.dropout import Dropout
from twotower.models.kernels.linear import Linear
from twotower.models.layers.embedding import EmbeddingTable

HIDDEN = 2
"""Width of a transformer layer's hidden layer, as a multiple of D."""
SMALL = 0.1
"""By what the weights of the attention's ways beside the mean are scaled at first."""


class HistoryEncoder(nn.Module):
    """Items of histories (B, L, D) to vectors (B, L, D), one a place.

    What an item says once it was taken need not be what it is as a candidate: the next part of a
    series is wanted, not the same one again. So with `items` each gets a vector of its own, 0 at
    first, beside what the item tower makes of it (as in Koren 2008, "Factorization meets the
    neighborhood", whose items have two). Items get their event type's embedding, too; an empty
    history has a learned vector, that of the beginning. Ages are those before the newest event that
    a place knows.
    """

    def __init__(
        self,
        feature: HistoryFeature,
        embedding_dim: int,
        generator: torch.Generator | None,
        *,
        items: Vocabulary | None = None,
        sparse: bool = False,
    ) -> None:
        """`items`: those that get a vector of their own, with row-sparse gradients if `sparse`."""
        super().__init__()
        config = feature.config
        self.taken = None
        if items is not None:
            self.taken = EmbeddingTable.from_vocabulary(
                items, embedding_dim, column="item_id", sparse=sparse, generator=generator
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
        body: Callable[..., nn.Module] = {
            "mean": Mean,
            "attention": Attention,
            "transformer": Transformer,
        }[config.encoder]
        self.body = body(feature, embedding_dim, generator)

    def forward(self, items: Tensor, history: History) -> Tensor:
        """(B, L, D) vectors of the items, and what is known of their events."""
        sight = Sight.of(history, beginning=isinstance(self.body, Transformer))
        vectors: Tensor = self.body(self._tokens(items, history), sight)
        return vectors

    def newest(self, items: Tensor, history: History) -> Tensor:
        """The same of the newest event's place alone, (B, L, D) to (B, D)."""
        if isinstance(self.body, Mean):
            return self.body.newest(self._tokens(items, history), history)
        return history.at_newest(self(items, history))

    def _tokens(self, items: Tensor, history: History) -> Tensor:
        if self.taken is not None:
            # Items that came after training have none.
            known = history.item_num < self.taken.num_embeddings
            items = items + self.taken(torch.where(known, history.item_num, PADDING))
        if self.events is not None and history.event_num is not None:
            items = items + self.events(history.event_num)
        beginning = self.beginning.expand(len(items), 1, -1)
        tokens: Tensor = self.dropout(torch.cat([beginning, items[:, 1:]], dim=1))
        return tokens


@dataclass(frozen=True, eq=False)
class Sight:
    """What the places of histories may look at.

    Attributes:
        penalty: (B, L, L) 0 where place j may look at place i, else -inf.
        history: what is known of the events.
    """

    penalty: Tensor
    history: History

    @staticmethod
    def of(history: History, *, beginning: bool) -> Sight:
        """Neither later places nor places without an event are looked at. Without `beginning`, that
        one is only looked at where there is nothing else."""
        length = history.item_num.shape[1]
        seen = causal(length, history.mask.device) & history.mask[:, None, :]
        if not beginning and length > 1:
            alone = ~(seen[:, :, 1:].any(dim=2))
            seen = torch.cat([alone[:, :, None], seen[:, :, 1:]], dim=2)
        penalty = torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, -torch.inf)
        return Sight(penalty, history)

    @cached_property
    def log_age(self) -> Tensor | None:
        """(B, L, L) log2(1 + hours that place i was before place j), or None."""
        return None if self.history.time is None else log_ages(self.history.time)

    @cached_property
    def rows(self) -> Tensor | None:
        """(T,) of B * L places those that are there, or None where all are."""
        mask = self.history.mask
        return None if mask.all() else mask.flatten().nonzero()[:, 0]

    def pack(self, places: Tensor) -> Tensor:
        """(B, L, W) to the places that are there, (T, W)."""
        rows = places.flatten(0, 1)
        return rows if self.rows is None else rows.index_select(0, self.rows)

    def spread(self, rows: Tensor) -> Tensor:
        """(T, W) back to (B, L, W), 0 where nothing is."""
        batch, length, _ = self.penalty.shape
        if self.rows is not None:
            empty = rows.new_zeros(batch * length, rows.shape[1])
            rows = empty.index_copy(0, self.rows, rows)
        return rows.view(batch, length, -1)


@lru_cache(maxsize=64)
def causal(length: int, device: torch.device) -> Tensor:
    """(L, L) whether place i is not after place j."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def log_ages(time: Tensor) -> Tensor:
    """(B, L) seconds to (B, L, L): log2(1 + hours that place i was before place j)."""
    return log_hours(time[:, :, None] - time[:, None, :])


def log_hours(seconds: Tensor) -> Tensor:
    """log2(1 + hours), of nothing below 0."""
    return torch.log2(1 + seconds.clamp(min=0).float() / 3600)


def make_slopes(feature: HistoryFeature, number: int) -> nn.Parameter | None:
    """Attention to an event falls, or rises, as a learned power of its age: a bias of
    -slope * log2(1 + hours), with a slope for each head; None where ages are not read."""
    used = feature.has_times and feature.config.ages
    return nn.Parameter(torch.zeros(number)) if used else None


class Mean(nn.Module):
    """The mean of the items so far, each weighted by its age, times the root of their number.

    So it is as in SVD++ (Koren 2008), whose sum is divided by that root: in a plain mean of 20
    events one says a twentieth of what it says alone, and what follows from it is hardly learned.
    With weights w of ages the number is (sum w)² / sum w², that of equal ones which vary as much.
    """

    def __init__(
        self, feature: HistoryFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.slopes = make_slopes(feature, 1)

    def forward(self, tokens: Tensor, sight: Sight) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        return self.weights(sight) @ tokens

    def newest(self, tokens: Tensor, history: History) -> Tensor:
        """(B, L, D) to (B, D), without looking at the other places."""
        hidden = ~history.mask
        hidden[:, 0] = history.mask[:, 1:].any(dim=1)
        logits = torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, -torch.inf)
        if self.slopes is not None and history.time is not None:
            now = history.at_newest(history.time)
            logits = logits - self.slopes * log_hours(now[:, None] - history.time)
        return (unit(logits)[:, None] @ tokens)[:, 0]

    def weights(self, sight: Sight) -> Tensor:
        """(B, L, L), the squares of each row adding up to 1."""
        logits = sight.penalty
        if self.slopes is not None and sight.log_age is not None:
            logits = logits - self.slopes * sight.log_age
        return unit(logits)


def unit(logits: Tensor) -> Tensor:
    """(..., L) to weights proportional to exp(logits), whose squares add up to 1."""
    return F.normalize(logits.softmax(dim=-1), dim=-1)


class Attention(nn.Module):
    """The newest item asks which of the items so far matter, beside their mean.

    vector_j = mean_i x_i + V sum_i softmax_i(q(x_j) . k(x_i) / sqrt(D / H) - slope log age) v(x_i)
        + W x_j

    V and W are small at first: it starts from the mean, which is what to know of a history where
    its order says little, and learns what the mean lacks.
    """

    def __init__(
        self, feature: HistoryFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.mean = Mean(feature, embedding_dim, generator)
        self.attention = SelfAttention(feature, embedding_dim, generator)
        self.newest = Linear(embedding_dim, embedding_dim, generator)
        with torch.no_grad():
            self.attention.output.weight.mul_(SMALL)
            self.newest.weight.mul_(SMALL)

    def forward(self, tokens: Tensor, sight: Sight) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        rows = sight.pack(tokens)
        learned = self.attention(rows, sight) + self.newest(rows)
        mixed: Tensor = self.mean(tokens, sight) + sight.spread(learned)
        return mixed


class SelfAttention(nn.Module):
    """V sum_i softmax_i(q(x_j) . k(x_i) / sqrt(D / H) - slope log age) v(x_i)."""

    def __init__(
        self, feature: HistoryFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.num_heads = feature.config.num_heads
        self.slopes = make_slopes(feature, self.num_heads)
        self.inputs = Linear(embedding_dim, 3 * embedding_dim, generator)
        self.output = Linear(embedding_dim, embedding_dim, generator)

    def forward(self, rows: Tensor, sight: Sight) -> Tensor:
        """The places that are there, (T, D) to (T, D)."""
        parts = sight.spread(self.inputs(rows))
        log_age = None if self.slopes is None else sight.log_age
        mixed = attend(parts, self.num_heads, sight.penalty, log_age, self.slopes)
        output: Tensor = self.output(sight.pack(mixed))
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
        rows = sight.pack(tokens)
        for layer in self.layers:
            rows = layer(rows, sight)
        return sight.spread(self.norm(rows))


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
            Linear(embedding_dim, HIDDEN * embedding_dim, generator),
            nn.GELU(),
            Linear(HIDDEN * embedding_dim, embedding_dim, generator),
        )
        self.dropout = Dropout(feature.config.dropout)

    def forward(self, rows: Tensor, sight: Sight) -> Tensor:
        """The places that are there, (T, D) to (T, D)."""
        rows = self.dropout.add(rows, self.attention(self.attention_norm(rows), sight))
        return self.dropout.add(rows, self.mlp(self.mlp_norm(rows)))
