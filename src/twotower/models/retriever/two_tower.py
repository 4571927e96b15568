"""The two towers: each turns features into one vector; the score is their inner product."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twotower.config import RetrieverConfig
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.entities import Features
from twotower.data.features.histories import History, HistoryFeature
from twotower.data.features.scalar import FittedFeature
from twotower.data.features.schema import Schema
from twotower.data.features.vocabulary import Vocabulary
from twotower.models.layers.embedding_bag import EncoderInputs, prepare_bags
from twotower.models.layers.encoders import IdEncoder, make_encoder
from twotower.models.layers.history.encoder import HistoryEncoder
from twotower.models.layers.mlp import make_mlp
from twotower.models.retriever.cold_item_tower import ColdTower
from twotower.models.retriever.losses.base import make_loss

ID_DROPOUT = 0.1
"""Share of ids dropped in training where a tower has other features and the config says nothing."""
ID_DROPOUT_BESIDE_HISTORY = 0.8
"""The same of user ids beside a history. An id learns all that its user took in training, with what
comes after a place of the history, so that histories are left with less to tell (tried on
validation: docs/experiments.md)."""
SMALL = 0.01
"""By what the weights of the last layer, beside a direct way, and of the ids, beside a history, are
scaled at first."""


class Tower(nn.Module):
    """Encoded features (R, ...) each to one vector (R, D).

    vector = id embedding + history vector + MLP(all encodings, concatenated).

    The embedding of the id and the vector of the history reach the output directly (residual
    connections), so that a deeper tower starts from matrix factorization and from the mean of what
    a user took, instead of having to find them. Without other features and hidden layers there is
    no MLP: a tower of an id alone is then matrix factorization.
    """

    def __init__(
        self,
        features: Mapping[str, FittedFeature],
        config: RetrieverConfig,
        *,
        sparse_ids: bool,
        generator: torch.Generator | None,
        history: HistoryFeature | None = None,
        items: Vocabulary | None = None,
        sparse_items: bool = False,
        bias_by_id: bool = False,
        drops_ids: bool = True,
    ) -> None:
        super().__init__()
        self.bias_by_id = bias_by_id
        self.names = tuple(features)
        plain = set(self.names) <= {ID_FEATURE}
        id_dropout = ID_DROPOUT if drops_ids and not plain else 0.0
        if history is not None:
            id_dropout = ID_DROPOUT_BESIDE_HISTORY
        encoders = [
            make_encoder(
                feature,
                config.embedding_dim,
                id_dropout=id_dropout,
                sparse_ids=sparse_ids,
                generator=generator,
            )
            for feature in features.values()
        ]
        self.encoders = nn.ModuleList(encoders)
        self.has_id = ID_FEATURE in features
        self.history = (
            None
            if history is None
            else HistoryEncoder(
                history, config.embedding_dim, generator, items=items, sparse=sparse_items
            )
        )
        first = encoders[0] if encoders else None
        if history is not None and isinstance(first, IdEncoder):
            # Random ids would drown what the history says, and a user's is updated once an epoch.
            with torch.no_grad():
                first.table.weight.mul_(SMALL)
        hidden = config.hidden
        if hidden == "auto":
            hidden = () if plain else (2 * config.embedding_dim,)
        width = sum(encoder.width for encoder in encoders)
        width += config.embedding_dim if history is not None else 0
        self.mlp = None if plain and not hidden else make_mlp(width, hidden, config, generator)
        if self.mlp is not None and (self.has_id or self.history is not None):
            # At first the direct way is almost all there is; the layers add what it lacks.
            last = self.mlp[-1]
            assert isinstance(last, nn.Linear)
            with torch.no_grad():
                last.weight.mul_(SMALL)

    def prepare(self, features: Features) -> EncoderInputs:
        """Features (R, ...) that are encoded at every step, prepared once."""
        return prepare_bags(self.names, self.encoders, features)

    def forward(
        self,
        features: EncoderInputs,
        at_places: Features | None = None,
        history: tuple[Tensor, History] | None = None,
        *,
        newest: bool = False,
        id_table: Tensor | None = None,
    ) -> Tensor:
        """Vectors of R rows, or of each place of their histories.

        Args:
            features: name -> (R, ...), or what `prepare` made of them.
            at_places: name -> (R, L, ...), features that each place has its own of.
            history: the items' vectors (R, L, D) and the events; needed where the tower has one.
            newest: of the history's places the newest event's alone.
            id_table: (num_embeddings, D) to look ids up in. Default: the id encoder's own table.

        Returns:
            (R, D), for each place of a history (R, L, D).
        """
        at_places = at_places or {}
        encoded = []
        for name, encoder in zip(self.names, self.encoders, strict=True):
            if name in at_places:
                column = at_places[name]
                flat = encoder(column.flatten(0, 1))
                encoded.append(flat.unflatten(0, column.shape[:2]))
            elif name == ID_FEATURE:
                encoded.append(encoder(features[name], id_table))
            else:
                encoded.append(encoder(features[name]))
        direct = encoded[:1] if self.has_id else []
        if self.history is not None:
            assert history is not None
            read = self.history.newest(*history) if newest else self.history(*history)
            if not newest:
                length = read.shape[1]
                encoded = [
                    part[:, None].expand(-1, length, -1) if part.ndim == 2 else part
                    for part in encoded
                ]
            encoded.append(read)
            direct = [*encoded[: len(direct)], read]
        parts = direct
        if self.mlp is not None:
            read = self.mlp(torch.cat(encoded, dim=-1))
            # What features say of an item's bias would be said of items that training never ranked.
            parts = [*direct, F.pad(read[..., :-1], (0, 1)) if self.bias_by_id else read]
        vector: Tensor = parts[0]
        for part in parts[1:]:
            vector = vector + part
        return vector


class TwoTower(nn.Module):
    """Query tower (user, history, context) and item tower.

    Source: Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item
    recommendations"; Covington et al. 2016 for the shape. Plain matrix factorization is this model
    with ids alone and `hidden = []`.

    An item whose id training never saw has its vector from a tower of its own
    (`models/retriever/cold_item_tower.py`);
    what histories read of it is what the item tower makes of its features.

    Not covered here: what a training step does (`models/retriever/objective.py`).

    >>> model = tt.TwoTower(schema=data.schema)
    >>> model = tt.TwoTower(tt.RetrieverConfig(embedding_dim=16), data.schema)
    >>> model.config.embedding_dim
    16
    """

    cold_offset: Tensor
    """() added to the scores of new items."""
    cold_shift: Tensor
    """(D - 1,), all but the bias: added to the vectors of new items, so that they lie
    where those of the others do."""

    def __init__(
        self,
        config: RetrieverConfig | None = None,
        schema: Schema | None = None,
        *,
        seed: int = 0,
    ) -> None:
        """Make both towers for the features of a schema.

        Args:
            config: default: `RetrieverConfig()`.
            schema: of the dataset that it is to be trained on.
            seed: draws the initial weights.

        Raises:
            TypeError: there is no schema.
        """
        super().__init__()
        if schema is None:
            raise TypeError("TwoTower needs a schema: TwoTower(schema=data.schema)")
        config = config or RetrieverConfig()
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        query_features = {
            **schema.features["user"],
            **{f"context.{name}": feature for name, feature in schema.features["context"].items()},
        }
        self.loss = make_loss(config, num_items=len(schema.items))
        has_both_ids = (
            ID_FEATURE in schema.features["user"] and ID_FEATURE in schema.features["item"]
        )
        # Smoothing would show a history's reader what comes after it.
        smooths = has_both_ids and schema.history is None
        self.smoothing_layers = config.smoothing_layers if smooths else 0
        item_features = dict(schema.features["item"])
        self.item_bias = (
            set(item_features) == {ID_FEATURE}
            if config.item_bias == "auto"
            else config.item_bias and ID_FEATURE in item_features
        )
        has_cold_tower = config.cold_tower and {ID_FEATURE} < set(item_features)
        # What new items are shown more or less is a bias, too.
        self.has_bias = self.item_bias or has_cold_tower
        # A table whose every row gets a gradient at each step has no use for row-sparse state.
        sparse = not self.smoothing_layers
        # Torch's layers draw from the global generator before our own weights replace theirs.
        with torch.random.fork_rng(devices=[]):
            self.query_tower = Tower(
                query_features,
                config,
                sparse_ids=sparse,
                generator=generator,
                history=schema.history,
                items=schema.vocabulary("item") if ID_FEATURE in item_features else None,
                sparse_items=not self.ranks_all_items,
            )
            self.item_tower = Tower(
                item_features,
                config,
                sparse_ids=sparse and not self.ranks_all_items,
                generator=generator,
                bias_by_id=self.has_bias,
                drops_ids=not has_cold_tower or schema.history is not None,
            )
            item_features.pop(ID_FEATURE, None)
            self.cold_tower = (
                ColdTower(item_features, config, generator=generator) if has_cold_tower else None
            )
        self.history = schema.history
        self.first_known_item = schema.vocabulary("item").first_known
        offset = 0.0 if config.cold_offset == "auto" else config.cold_offset
        self.register_buffer("cold_offset", torch.tensor(offset), persistent=has_cold_tower)
        shift = torch.zeros(config.embedding_dim - self.has_bias)
        self.register_buffer("cold_shift", shift, persistent=has_cold_tower)
        self.log_temperature = nn.Parameter(
            torch.tensor(config.temperature).log(), requires_grad=config.learn_temperature
        )

    @property
    def ranks_all_items(self) -> bool:
        """Whether training scores all warm items at each step; see `Loss`."""
        return self.loss.ranks_all_items

    def id_encoders(self) -> tuple[IdEncoder, IdEncoder]:
        """The encoders of the user ids and of the item ids; both towers must have one."""
        query, item = self.query_tower.encoders[0], self.item_tower.encoders[0]
        assert isinstance(query, IdEncoder)
        assert isinstance(item, IdEncoder)
        return query, item

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.log_temperature.device

    @property
    def temperature(self) -> Tensor:
        """() by which scores are divided in training."""
        return self.log_temperature.exp()

    def query_vectors(
        self,
        users: Features,
        context: Features,
        history: tuple[Tensor, History] | None = None,
        *,
        id_table: Tensor | None = None,
    ) -> Tensor:
        """B queries to (B, D).

        Args:
            users: name -> (B, ...), as `EntityTable.gather` gives them.
            context: name -> (B, ...); empty where the schema has no context feature.
            history: `item_states` of the events (B, L, D), and the events; needed where the schema
                has a history. The newest event's place is answered.
            id_table: as in `Tower.forward`.
        """
        named = {f"context.{name}": column for name, column in context.items()}
        outputs = self.query_tower(
            {**users, **named}, history=history, newest=True, id_table=id_table
        )
        return self._finish_queries(outputs)

    def query_vectors_at_places(
        self, users: Features, context: Features, history: tuple[Tensor, History]
    ) -> Tensor:
        """A vector for each place of B histories, (B, L, D), each of the events up to that place.

        Args:
            users: name -> (B, ...).
            context: name -> (B, L, ...), of the request that comes after each place.
            history: as in `query_vectors`.
        """
        named = {f"context.{name}": column for name, column in context.items()}
        return self._finish_queries(self.query_tower(users, named, history))

    def _finish_queries(self, outputs: Tensor) -> Tensor:
        vectors, _ = self._taste(outputs)
        if not self.has_bias:
            return vectors
        return torch.cat([vectors, torch.ones_like(vectors[..., :1])], dim=-1)

    def item_states(self, items: EncoderInputs, *, id_table: Tensor | None = None) -> Tensor:
        """Item features of N items to what histories read of them, (N, D); `id_table` as in
        `Tower.forward`."""
        states: Tensor = self.item_tower(items, id_table=id_table).float()
        return states

    def item_vectors(self, items: Features, states: Tensor | None = None) -> Tensor:
        """Item features of N items, and their `item_states` (N, D) where they are known already, to
        (N, D)."""
        vectors = self.vectors_of_states(self.item_states(items) if states is None else states)
        if self.cold_tower is None:
            return vectors
        new = (items[ID_FEATURE] < self.first_known_item).nonzero()[:, 0]
        chosen = {name: column[new] for name, column in items.items()}
        return vectors.index_copy(0, new, self.cold_vectors(chosen))

    def vectors_of_states(self, states: Tensor) -> Tensor:
        """`item_states` (N, D) of items that training saw to item vectors (N, D)."""
        vectors, bias = self._taste(states)
        # The caller divides scores by the temperature; the bias is to be added as it is.
        bias = bias * self.temperature if self.item_bias else torch.zeros_like(bias)
        return torch.cat([vectors, bias], dim=-1)

    def cold_vectors(self, items: Features, content: Tensor | None = None) -> Tensor:
        """Item features of N items to the vectors (N, D) that they would have if training had not
        seen their ids; the model must have a cold tower. `content` (N, K) as that one takes it."""
        assert self.cold_tower is not None
        vectors, bias = self._taste(self.cold_tower(items, content))
        return torch.cat([vectors + self.cold_shift, self.cold_offset.expand_as(bias)], dim=-1)

    def _taste(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """What a tower gives (..., D), cut into the coordinates of taste, normalised if configured,
        and the bias: the last one, or none."""
        outputs = outputs.float()
        width = outputs.shape[-1] - self.has_bias
        vectors, bias = outputs[..., :width], outputs[..., width:]
        return F.normalize(vectors, dim=-1) if self.config.normalize else vectors, bias
