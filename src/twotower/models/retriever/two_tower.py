"""The two towers: each turns features into one vector; the score is their inner product."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twotower.config import RetrieverConfig
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.entities import Features, tensor_of
from twotower.data.features.histories import History
from twotower.data.features.schema import Schema
from twotower.models.layers.embedding_bag import EncoderInputs
from twotower.models.layers.encoders import IdEncoder
from twotower.models.retriever.cold_item_tower import ColdTower
from twotower.models.retriever.losses.base import EpochSize, make_loss
from twotower.models.retriever.towers.base import TOWERS, TowerSpec
from twotower.models.short_repr import ShortRepr

MAX_SMOOTHED_STEPS = 48
"""Up to so many steps an epoch, ids are smoothed in each of them (docs/experiments.md, "Smoothing
by cost")."""
SMOOTHINGS = 16
"""An epoch of more steps has so many smoothings."""
LOW_TEMPERATURE, HIGH_TEMPERATURE = 0.1, 0.4
ROWS_OF_LOW_TEMPERATURE = 600_000


class TwoTower(ShortRepr):
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
        self.config = config = config or RetrieverConfig()
        generator = torch.Generator().manual_seed(seed)
        query_features = {
            **schema.features["user"],
            **{f"context.{name}": feature for name, feature in schema.features["context"].items()},
        }
        has_history = schema.history is not None
        self.loss = make_loss(config, num_items=len(schema.items), has_history=has_history)
        self.smoothing_layers = config.smoothing_layers if can_smooth(schema) else 0
        self.smoothing_every = smoothing_every(config, None)
        """Steps between two smoothings; at 1, each step is learned through smoothed tables."""
        item_features = dict(schema.features["item"])
        self.item_bias = (
            set(item_features) == {ID_FEATURE}
            if config.item_bias == "auto"
            else config.item_bias and ID_FEATURE in item_features
        )
        has_cold_tower = config.cold_tower and {ID_FEATURE} < set(item_features)
        # What new items are shown more or less is a bias, too.
        self.has_bias = self.item_bias or has_cold_tower
        # Torch's layers draw from the global generator before our own weights replace theirs.
        with torch.random.fork_rng(devices=[]):
            self.query_tower = TOWERS[config.query_tower](
                TowerSpec(
                    query_features,
                    config,
                    generator,
                    history=schema.history,
                    items=schema.vocabulary("item") if ID_FEATURE in item_features else None,
                )
            )
            self.item_tower = TOWERS[config.item_tower](
                TowerSpec(
                    item_features,
                    config,
                    generator,
                    bias_by_id=self.has_bias,
                    drops_ids=not has_cold_tower or schema.history is not None,
                )
            )
            content = schema.columns("item")
            self.cold_tower = (
                ColdTower(content, config, generator=generator) if has_cold_tower else None
            )
        self.history = schema.history
        self.first_known_item = schema.vocabulary("item").first_known
        offset = 0.0 if config.cold_offset == "auto" else config.cold_offset
        self.register_buffer("cold_offset", torch.tensor(offset), persistent=has_cold_tower)
        shift = torch.zeros(config.embedding_dim - self.has_bias)
        self.register_buffer("cold_shift", shift, persistent=has_cold_tower)
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(initial_temperature(config, None))),
            requires_grad=config.learn_temperature,
        )
        self._choose_gradients()

    @property
    def ranks_all_items(self) -> bool:
        """Whether training scores all warm items at each step; see `Loss`."""
        return self.loss.ranks_all_items

    @property
    def smooths_each_step(self) -> bool:
        """Whether training looks ids up in tables that are smoothed anew for each step."""
        return bool(self.smoothing_layers) and self.smoothing_every == 1

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

    @torch.no_grad()
    def settle(self, size: EpochSize) -> None:
        """Choose what the config leaves to the size of the training part, before training begins:
        the temperature, how often ids are smoothed, and the candidates of the loss."""
        self.log_temperature.fill_(math.log(initial_temperature(self.config, size.rows)))
        self.smoothing_every = smoothing_every(self.config, size.steps)
        self.loss.size = size
        self._choose_gradients()

    def _choose_gradients(self) -> None:
        """Give tables row-sparse gradients, unless every row of them gets one at each step: of the
        ids that are smoothed, and of the items where all are ranked. Dense ones of tables in bf16
        would be summed in bf16."""
        smooths = self.smooths_each_step
        ranks_all = self.ranks_all_items
        for tower, is_dense in (
            (self.query_tower, smooths),
            (self.item_tower, smooths or ranks_all),
        ):
            for encoder in tower.encoders:
                if isinstance(encoder, IdEncoder):
                    encoder.table.sparse = not is_dense or encoder.table.is_rounded
        history = self.query_tower.history
        if history is not None and history.taken is not None:
            history.taken.sparse = not ranks_all or history.taken.is_rounded

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

    def query_vectors_at_positions(
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
        vectors, _ = self._vectors_and_bias(outputs)
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
        new = (tensor_of(items, ID_FEATURE) < self.first_known_item).nonzero()[:, 0]
        chosen = {name: column[new] for name, column in items.items()}
        return vectors.index_copy(0, new, self.cold_vectors(chosen))

    def vectors_of_states(self, states: Tensor) -> Tensor:
        """`item_states` (N, D) of items that training saw to item vectors (N, D)."""
        vectors, bias = self._vectors_and_bias(states)
        # The caller divides scores by the temperature; the bias is to be added as it is.
        bias = bias * self.temperature if self.item_bias else torch.zeros_like(bias)
        return torch.cat([vectors, bias], dim=-1)

    def cold_vectors(self, items: Features, content: Tensor | None = None) -> Tensor:
        """Item features of N items to the vectors (N, D) that they would have if training had not
        seen their ids; the model must have a cold tower. `content` (N, K) as that one takes it."""
        assert self.cold_tower is not None
        vectors, bias = self._vectors_and_bias(self.cold_tower(items, content))
        return torch.cat([vectors + self.cold_shift, self.cold_offset.expand_as(bias)], dim=-1)

    def _vectors_and_bias(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The output (..., D) of a tower, split into vectors, normalised if configured, and biases:
        the last component, or none."""
        outputs = outputs.float()
        width = outputs.shape[-1] - self.has_bias
        vectors, bias = outputs[..., :width], outputs[..., width:]
        return F.normalize(vectors, dim=-1) if self.config.normalize else vectors, bias


def initial_temperature(config: RetrieverConfig, num_rows: int | None) -> float:
    """The configured temperature, or the one for so many training rows. Fewer rows need a higher
    one: docs/experiments.md, "Temperature on small data".

    Args:
        config: with `temperature`.
        num_rows: None where they are not known yet.
    """
    if config.temperature != "auto":
        return config.temperature
    return min(LOW_TEMPERATURE * growth(num_rows), HIGH_TEMPERATURE)


def growth(num_rows: int | None) -> float:
    """What the temperature and the learning rate of the tables are multiplied by if there are fewer
    than `ROWS_OF_LOW_TEMPERATURE` training rows: the fourth root of the ratio. 1 for more rows, or
    where their number is not known yet."""
    if not num_rows:
        return 1.0
    return max(1.0, math.sqrt(math.sqrt(ROWS_OF_LOW_TEMPERATURE / num_rows)))


def smoothing_every(config: RetrieverConfig, steps: int | None) -> int:
    """The configured number of steps between two smoothings, or the one for so many steps an epoch;
    1 where their number is not known yet."""
    if config.smoothing_every != "auto":
        return config.smoothing_every
    return 1 if steps is None or steps <= MAX_SMOOTHED_STEPS else -(-steps // SMOOTHINGS)


def can_smooth(schema: Schema) -> bool:
    """Whether id tables can be smoothed: both sides have ids, and no history is read, whose reader
    smoothing would show what comes after it."""
    both = all(ID_FEATURE in schema.features[side] for side in ("user", "item"))
    return both and schema.history is None
