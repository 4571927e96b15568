"""What every tower is, and the registry that configs choose one from.

Shapes: R rows, L positions of a history, D embedding_dim, W width of an encoding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from twotower.config import RetrieverConfig, registries
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.entities import Features
from twotower.data.features.histories import History, HistoryFeature
from twotower.data.features.id import FittedFeature
from twotower.data.features.vocabulary import Vocabulary
from twotower.models.layers.embedding_bag import EncoderInputs, prepare_bags
from twotower.models.layers.encoders import IdEncoder, make_encoder
from twotower.models.layers.history.encoder import HistoryEncoder
from twotower.registry import Registry, registering

ID_DROPOUT = 0.1
"""Share of ids dropped in training if a tower has other features and the config names no share."""
ID_DROPOUT_WITH_HISTORY = 0.8
"""The same of user ids next to a history. An id learns all of its user's training interactions,
those after a position of the history, too, which leaves little for the history to explain (chosen
on validation: docs/experiments.md)."""
INITIAL_SCALE = 0.01
"""Factor of the initial weights of the last layer next to a residual connection, and of the ids
next to a history."""


@dataclass(frozen=True)
class TowerSpec:
    """What a tower is made for.

    >>> spec = tt.TowerSpec({}, tt.RetrieverConfig())
    >>> spec.history is None
    True

    Attributes:
        features: fitted features by name, the id first.
        config: the settings of the retriever.
        generator: draws the initial weights; None for torch's own.
        history: the fitted history of a query tower that reads one.
        items: items that get a vector of their own in histories.
        bias_by_id: the last coordinate is the item's bias, which only the id may set.
        drops_ids: replace a share of the ids by their OOV row in training.
    """

    features: Mapping[str, FittedFeature]
    config: RetrieverConfig
    generator: torch.Generator | None = None
    history: HistoryFeature | None = None
    items: Vocabulary | None = None
    bias_by_id: bool = False
    drops_ids: bool = True

    @property
    def has_id_alone(self) -> bool:
        """Whether there is no feature but the id."""
        return set(self.features) <= {ID_FEATURE}

    @property
    def id_dtype(self) -> torch.dtype:
        """The type that embeddings of ids are kept in."""
        return torch.bfloat16 if self.config.table_precision == "bf16" else torch.float32

    @property
    def id_dropout(self) -> float:
        """Share of ids dropped where the feature's config names none."""
        if self.history is not None:
            return ID_DROPOUT_WITH_HISTORY
        return ID_DROPOUT if self.drops_ids and not self.has_id_alone else 0.0


class Tower(nn.Module, ABC):
    """Encodes features and a history; a subclass combines the encodings in `combine`.

    `register_tower` gives a subclass the name by which configs choose it (`retriever.query_tower`,
    `retriever.item_tower`).

    >>> model.item_tower.names[0], model.item_tower.has_id
    ('id', True)
    """

    def __init__(self, spec: TowerSpec) -> None:
        """Make the encoders."""
        super().__init__()
        dim, features = spec.config.embedding_dim, spec.features
        self.names = tuple(features)
        self.has_id = ID_FEATURE in features
        encoders = [
            make_encoder(
                feature,
                dim,
                id_dropout=spec.id_dropout,
                id_dtype=spec.id_dtype,
                generator=spec.generator,
            )
            for feature in features.values()
        ]
        self.encoders = nn.ModuleList(encoders)
        self.history = (
            None
            if spec.history is None
            else HistoryEncoder(
                spec.history, dim, spec.generator, items=spec.items, dtype=spec.id_dtype
            )
        )
        first = encoders[0] if encoders else None
        if spec.history is not None and isinstance(first, IdEncoder):
            # Random ids would drown what the history says, and a user's is updated once an epoch.
            with torch.no_grad():
                first.table.weight.mul_(INITIAL_SCALE)
        self.width = sum(encoder.width for encoder in encoders)
        """The sum of the widths W of all encodings, that of the history (D) among them."""
        self.width += dim if spec.history is not None else 0

    @abstractmethod
    def combine(self, encoded: list[Tensor], history: Tensor | None) -> Tensor:
        """Encodings to a vector.

        Args:
            encoded: (R, W) of each feature, in the order of `names`; (R, L, W) if every position
                of a history is asked for.
            history: (R, D) or (R, L, D); None in a tower without a history.

        Returns:
            (R, D) or (R, L, D).
        """

    def prepare(self, features: Features) -> EncoderInputs:
        """Features (R, ...) that are encoded at every step, prepared once."""
        return prepare_bags(self.names, self.encoders, features)

    def forward(
        self,
        features: EncoderInputs,
        at_positions: Features | None = None,
        history: tuple[Tensor, History] | None = None,
        *,
        newest: bool = False,
        id_table: Tensor | None = None,
    ) -> Tensor:
        """Vectors of R rows, or of each position of their histories.

        Args:
            features: name -> (R, ...), or what `prepare` made of them.
            at_positions: name -> tensor (R, L, ...), features that each position has its own of.
            history: the items' vectors (R, L, D) and the events; needed if the tower has one.
            newest: of the history's positions the newest event's alone.
            id_table: (num_embeddings, D) to look ids up in. Default: the id encoder's own table.

        Returns:
            (R, D), for each position of a history (R, L, D).
        """
        at_positions = at_positions or {}
        encoded = []
        for name, encoder in zip(self.names, self.encoders, strict=True):
            if name in at_positions:
                column = at_positions[name]
                assert isinstance(column, Tensor)
                flat = encoder(column.flatten(0, 1))
                encoded.append(flat.unflatten(0, column.shape[:2]))
            elif name == ID_FEATURE:
                encoded.append(encoder(features[name], id_table))
            else:
                encoded.append(encoder(features[name]))
        read = None
        if self.history is not None:
            assert history is not None
            read = self.history(*history, newest=newest)
            if not newest:
                length = read.shape[1]
                encoded = [
                    part[:, None].expand(-1, length, -1) if part.ndim == 2 else part
                    for part in encoded
                ]
        return self.combine(encoded, read)


TOWERS: Registry[type[Tower]] = registries.TOWERS
"""Towers by the name that `retriever.query_tower` and `retriever.item_tower` choose them by."""


def register_tower(name: str) -> Callable[[type[Tower]], type[Tower]]:
    """A class decorator that lets configs choose a `Tower` by a name.

    >>> import torch
    >>> @tt.register_tower("projection")
    ... class Projection(tt.Tower):
    ...     def __init__(self, spec):
    ...         super().__init__(spec)
    ...         self.layer = torch.nn.Linear(self.width, spec.config.embedding_dim)
    ...
    ...     def combine(self, encoded, history):
    ...         parts = encoded if history is None else [*encoded, history]
    ...         return self.layer(torch.cat(parts, dim=-1))
    >>> config = tt.RetrieverConfig(query_tower="projection", embedding_dim=8)
    >>> model = tt.fit(tt.TwoTower(config, data.schema), train, validation, epochs=1)

    Args:
        name: may not be that of another module's tower.
    """
    return registering(TOWERS, name)
