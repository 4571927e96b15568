"""The feature-aware ranker: neural collaborative filtering over all that is known of both sides.

GMF and MLP branches (He et al. 2017) over ids, features, texts, images, context and a user's
positives. Unknown ids are OOV rows that training has seen (id dropout), so that new users and new
items are ranked. For the paper's own models see `models/ranker/neumf.py`.

Shapes: R users, T queries, N items, L places, E embedding_dim, G width of the GMF branch, S width
of a state (`models/ranker/gmf_mlp.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twotower.config import RankerConfig
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.entities import Features
from twotower.data.features.id import FittedFeature
from twotower.data.features.schema import Schema
from twotower.models.kernels.dropout import Dropout
from twotower.models.layers.embedding_bag import EncoderInputs, prepare_bags
from twotower.models.layers.encoders import IdEncoder, make_encoder
from twotower.models.layers.history.encoder import HistoryEncoder
from twotower.models.layers.mlp import linear
from twotower.models.ranker.gmf_mlp import Branches
from twotower.models.retriever.towers.base import ID_DROPOUT, INITIAL_SCALE
from twotower.models.short_repr import ShortRepr

DEVIATION = 0.1
"""Of the id embeddings at first."""


class ItemStates(NamedTuple):
    """What the ranker makes of N items.

    Attributes:
        states: (N, S) what a candidate is scored by.
        given: (N, E) what is read of an item among a user's positives.
    """

    states: Tensor
    given: Tensor


class Part(nn.Module):
    """Encoded features (R, ...) each to what they say of a state, (R, width).

    The first `direct` coordinates of a state get the id's own embedding, and what the other
    encodings add to them starts small, so that training starts from matrix factorization.
    """

    def __init__(
        self,
        features: Mapping[str, FittedFeature],
        embedding_dim: int,
        direct: int,
        width: int,
        *,
        id_dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.names = tuple(features)
        self.direct = direct
        encoders = []
        for name, feature in features.items():
            is_id = name == ID_FEATURE
            encoder = make_encoder(
                feature,
                embedding_dim + (direct if is_id else 0),
                id_dropout=id_dropout,
                generator=generator,
            )
            if isinstance(encoder, IdEncoder):
                with torch.no_grad():
                    encoder.table.weight.mul_(DEVIATION * (embedding_dim + direct) ** 0.5)
            encoders.append(encoder)
        self.encoders = nn.ModuleList(encoders)
        self.has_id = ID_FEATURE in features
        inputs = sum(encoder.width for encoder in encoders) - (direct if self.has_id else 0)
        self.layer = linear(inputs, width, generator) if inputs else None
        if self.layer is not None:
            with torch.no_grad():
                self.layer.weight[:direct].mul_(INITIAL_SCALE)

    def forward(self, features: EncoderInputs) -> Tensor | None:
        """(R, width), or None where there is no feature."""
        if self.layer is None:
            return None
        encoded = [
            encoder(features[name]) for name, encoder in zip(self.names, self.encoders, strict=True)
        ]
        own = None
        if self.has_id:
            own, encoded[0] = encoded[0][:, : self.direct], encoded[0][:, self.direct :]
        said: Tensor = self.layer(torch.cat(encoded, dim=1))
        return said if own is None else said + F.pad(own, (0, said.shape[1] - self.direct))


class NeuralCF(ShortRepr):
    """logit = branches(query state, item state), each state a sum of what is known.

    query state = user's features + context + user's positives + history
    item state  = the item's features

    Not covered here: the retriever's score, the calibration (`serving/answer/ncf_stage.py`).

    >>> ranker = tt.NeuralCF(schema=data.schema)
    >>> ranker = tt.NeuralCF(tt.RankerConfig(embedding_dim=8), data.schema)
    >>> ranker.config.hidden
    (64, 32)
    """

    def __init__(
        self, config: RankerConfig | None = None, schema: Schema | None = None, *, seed: int = 0
    ) -> None:
        """Make the ranker for the features of a schema.

        Args:
            config: default: `RankerConfig()`.
            schema: of the dataset that it is to be trained on.
            seed: draws the initial weights.

        Raises:
            TypeError: there is no schema.
        """
        super().__init__()
        if schema is None:
            raise TypeError("NeuralCF needs a schema: NeuralCF(schema=data.schema)")
        config = config or RankerConfig()
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        dim = config.embedding_dim
        gmf = dim if config.gmf else 0
        users, items, context = (schema.features[side] for side in ("user", "item", "context"))
        alone = set(users) | set(items) <= {ID_FEATURE} and not context
        reads = config.user_positives or schema.history is not None
        with torch.random.fork_rng(devices=[]):
            self.branches = Branches(
                gmf,
                config.hidden,
                activation=config.activation,
                dropout=config.dropout,
                norm=config.norm,
                generator=generator,
            )
            width = self.branches.state_dim
            dropout = 0.0 if alone and not reads else ID_DROPOUT

            def part(features: Mapping[str, FittedFeature], direct: int, width: int) -> Part:
                return Part(features, dim, direct, width, id_dropout=dropout, generator=generator)

            self.user_part = part(users, gmf, width)
            self.context_part = part(context, 0, width)
            # An item has two vectors in the GMF branch: as a candidate, and as a positive.
            self.item_part = part(items, gmf, width)
            self.given_part = part(items, dim, dim) if reads else None
            # The name `taken` is that of saved weights.
            self.taken = linear(dim, width, generator) if config.user_positives else None
            self.history = (
                None if schema.history is None else HistoryEncoder(schema.history, dim, generator)
            )
            self.read = None if self.history is None else linear(dim, width, generator)
        self.start = nn.Parameter(torch.zeros(width))
        self.unknown_user_share = dropout
        """Share of users that training treats as unknown: neither the id nor positives are read. If
        only one of them were hidden, the other would say the same, and features learned nothing."""
        for encoder in self.user_part.encoders:
            if isinstance(encoder, IdEncoder):
                self.unknown_user_share, encoder.dropout = encoder.dropout, 0.0
        self.dropout = Dropout(config.dropout)
        for layer in (self.taken, self.read):
            if layer is not None:
                with torch.no_grad():
                    layer.weight[:gmf] = torch.eye(gmf, dim)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.start.device

    def prepare_items(self, items: Features) -> EncoderInputs:
        """Item features (N, ...) that are encoded at every step, prepared once."""
        return prepare_bags(self.item_part.names, self.item_part.encoders, items)

    def item_states(self, items: EncoderInputs, number: int) -> ItemStates:
        """Item features (N, ...), or what `prepare_items` made of them, of `number` = N items to
        what is needed of them."""
        states = self.item_part(items)
        given = None if self.given_part is None else self.given_part(items)
        zeros = self.start.new_zeros
        dim = 0 if self.given_part is None else self.config.embedding_dim
        return ItemStates(
            zeros(number, self.branches.state_dim) if states is None else states,
            zeros(number, dim) if given is None else given,
        )

    def user_states(self, users: Features, number: int) -> Tensor:
        """User features (R, ...) of `number` = R users to (R, S)."""
        said = self.user_part(users)
        return self.start.expand(number, -1) if said is None else self.start + said

    def query_states(
        self,
        user_states: Tensor,
        context: Features,
        positives: Tensor | None,
        history: Tensor | None,
    ) -> Tensor:
        """What is known of T queries, put together.

        Args:
            user_states: (T, S) as `user_states` gives them.
            context: name -> (T, ...); empty where the schema has no context feature.
            positives: (T, E) as `mean_of_positives` gives it; needed if `config.user_positives`.
            history: (T, E) as the history's encoder gives it; needed where the schema has one.

        Returns:
            (T, S).
        """
        states = user_states
        said = self.context_part(context)
        if said is not None:
            states = states + said
        for layer, vectors in ((self.taken, positives), (self.read, history)):
            if layer is not None:
                assert vectors is not None
                states = states + layer(self.dropout(vectors))
        return states

    def forward(self, query_states: Tensor, item_states: Tensor) -> Tensor:
        """States (T, S) and those of each query's candidates (T, C, S) to logits (T, C)."""
        logits: Tensor = self.branches(query_states, item_states)
        return logits


def mean_of_positives(total: Tensor, count: Tensor) -> Tensor:
    """The sum (T, E) of the `given` vectors of `count` (T,) items, over the square root of their
    number. No item is a vector of 0."""
    return total / count.clamp(min=1).sqrt()[:, None]
