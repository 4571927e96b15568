"""The two towers: each turns features into one vector; the score is their inner product."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twotower.config import RetrieverConfig
from twotower.data.columns import ID_FEATURE
from twotower.data.entities import Features
from twotower.data.features import FittedFeature
from twotower.data.schema import Schema
from twotower.models.encoders import IdEncoder, make_encoder

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
}


ID_DROPOUT = 0.1
"""Share of ids dropped in training where a tower has other features and the config says nothing."""


class Tower(nn.Module):
    """Encoded features (R, ...) each to one vector (R, D).

    vector = id embedding + MLP(all encodings, concatenated).

    The id's embedding reaches the output directly (a residual connection), so that a deeper tower
    starts from matrix factorization instead of having to find it. A tower of an id alone without
    hidden layers is that embedding: matrix factorization.
    """

    def __init__(
        self,
        features: Mapping[str, FittedFeature],
        config: RetrieverConfig,
        *,
        sparse_ids: bool,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.names = tuple(features)
        id_alone = self.names == (ID_FEATURE,)
        encoders = [
            make_encoder(
                feature,
                config.embedding_dim,
                id_dropout=0.0 if id_alone else ID_DROPOUT,
                sparse_ids=sparse_ids,
                generator=generator,
            )
            for feature in features.values()
        ]
        self.encoders = nn.ModuleList(encoders)
        self.has_id = ID_FEATURE in features
        hidden = config.hidden
        if hidden == "auto":
            hidden = () if id_alone else (2 * config.embedding_dim,)
        width = sum(encoder.width for encoder in encoders)
        self.mlp = None if id_alone and not hidden else make_mlp(width, hidden, config, generator)

    def forward(self, features: Features) -> Tensor:
        """name -> (R, ...) to (R, D)."""
        encoded = [
            encoder(features[name]) for name, encoder in zip(self.names, self.encoders, strict=True)
        ]
        if self.mlp is None:
            vector: Tensor = encoded[0]
            return vector
        vectors: Tensor = self.mlp(torch.cat(encoded, dim=1))
        return vectors + encoded[0] if self.has_id else vectors


def make_mlp(
    width: int,
    hidden: tuple[int, ...],
    config: RetrieverConfig,
    generator: torch.Generator | None,
) -> nn.Sequential:
    """Hidden layers with activation and dropout, then a linear layer to D."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [
            linear(width, size, generator),
            ACTIVATIONS[config.activation](),
            nn.Dropout(config.dropout),
        ]
        width = size
    return nn.Sequential(*layers, linear(width, config.embedding_dim, generator))


def linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    """A linear layer with weights uniform in ± sqrt(3 / inputs) (LeCun) and no bias at first."""
    layer = nn.Linear(inputs, outputs)
    bound = (3.0 / inputs) ** 0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.zero_()
    return layer


class TwoTower(nn.Module):
    """Query tower (user, context) and item tower.

    Source: Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item
    recommendations"; Covington et al. 2016 for the shape. Plain matrix factorization is this model
    with ids alone and `hidden = []`.

    Not covered here: the loss and its negatives (`models/objective.py`).
    """

    def __init__(self, config: RetrieverConfig, schema: Schema, *, seed: int = 0) -> None:
        """Make both towers for the features of a schema; `seed` draws the initial weights."""
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        query_features = {
            **schema.features["user"],
            **{f"context.{name}": feature for name, feature in schema.features["context"].items()},
        }
        self.ranks_all_items = (
            config.loss == "softmax" and len(schema.items) <= config.max_full_softmax
        )
        has_both_ids = (
            ID_FEATURE in schema.features["user"] and ID_FEATURE in schema.features["item"]
        )
        self.smoothing_layers = config.smoothing_layers if has_both_ids else 0
        # A table whose every row gets a gradient at each step has no use for row-sparse state.
        sparse = not self.smoothing_layers
        # Torch's layers draw from the global generator before our own weights replace theirs.
        with torch.random.fork_rng(devices=[]):
            self.query_tower = Tower(query_features, config, sparse_ids=sparse, generator=generator)
            self.item_tower = Tower(
                schema.features["item"],
                config,
                sparse_ids=sparse and not self.ranks_all_items,
                generator=generator,
            )
        self.log_temperature = nn.Parameter(
            torch.tensor(config.temperature).log(), requires_grad=config.learn_temperature
        )

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

    def query_vectors(self, users: Features, context: Features) -> Tensor:
        """User features and context features of B queries to (B, D).

        Args:
            users: name -> (B, ...), as `EntityTable.gather` gives them.
            context: name -> (B, ...); empty where the schema has no context feature.
        """
        named = {f"context.{name}": column for name, column in context.items()}
        vectors, _ = self._taste(self.query_tower({**users, **named}))
        if not self.config.item_bias:
            return vectors
        return torch.cat([vectors, torch.ones_like(vectors[..., :1])], dim=-1)

    def item_vectors(self, items: Features) -> Tensor:
        """Item features of N items to (N, D)."""
        vectors, bias = self._taste(self.item_tower(items))
        # The caller divides scores by the temperature, the bias is to be added as it is.
        return torch.cat([vectors, bias * self.temperature], dim=-1)

    def _taste(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """What a tower gives (..., D), cut into the coordinates of taste, normalised if configured,
        and the bias: the last one, or none."""
        outputs = outputs.float()
        width = outputs.shape[-1] - self.config.item_bias
        vectors, bias = outputs[..., :width], outputs[..., width:]
        return F.normalize(vectors, dim=-1) if self.config.normalize else vectors, bias
