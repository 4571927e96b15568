"""What a retriever is trained on: the vectors of a batch and of the items that it is contrasted
with, handed to the loss."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.batches.batches import Batch
from twotower.data.batches.negatives import (
    NegativeSampler,
    PopularitySampler,
    UniformSampler,
    in_batch_logq,
)
from twotower.data.dataset.interactions import Interactions
from twotower.models.layers.embedding_bag import EncoderInputs
from twotower.models.layers.graph_smoothing import InteractionGraph, UpdateSmoothing
from twotower.models.positives.user_positives import PositivesOfUsers, UserPositives
from twotower.models.retriever.cold_item_loss import ColdItemLoss
from twotower.models.retriever.losses.base import EncodedItems, LossInputs, SampledItems
from twotower.models.retriever.two_tower import TwoTower


class IdTables(NamedTuple):
    """Tables that the towers look ids up in; None for their own.

    Attributes:
        user: (U, D).
        item: (I, D).
    """

    user: Tensor | None = None
    item: Tensor | None = None


class RetrievalObjective:
    """The loss of a `TwoTower` on batches of a training part.

    Features of all users and warm items are kept on the device; a step gathers rows of them. A loss
    that ranks all items has every warm item encoded at each step, the others only those of the
    batch and its negatives. Cold items are not candidates: training has no evidence for or against
    them. The cold item tower, if there is one, is trained along with the other two.
    """

    def __init__(
        self,
        model: TwoTower,
        train: Interactions,
        *,
        batch_size: int,
        device: torch.device,
        held_out: NDArray[np.int64] | None = None,
        mask_known_positives: bool = True,
    ) -> None:
        """Put what is needed of a training part on a device.

        Args:
            model: made for the schema that `train` is numbered by.
            train: the training part.
            batch_size: of its batches.
            device: to compute on.
            held_out: (H,) nums of items that the cold item tower must not learn from.
            mask_known_positives: in queries with a single target, do not use the user's other
                training items as negatives. Right where recommendations leave out seen items.
        """
        self.mask_known_positives = mask_known_positives
        self.model = model
        self.device = device
        self.train = train
        items = train.items
        self.users = {name: column.to(device) for name, column in train.users.features.items()}
        self.items = {
            name: column[: items.end_warm].to(device) for name, column in items.features.items()
        }
        self.first_known = items.first_known
        self.warm_item_nums = torch.arange(items.first_known, items.end_warm, device=device)
        counts = torch.from_numpy(train.item_counts()[: items.end_warm])
        self.in_batch_logq = in_batch_logq(counts, batch_size).to(device)
        self.sampler: NegativeSampler = (
            UniformSampler(self.warm_item_nums.cpu())
            if model.config.negative_sampler == "uniform"
            else PopularitySampler(counts)
        )
        self.graph = InteractionGraph(train, device) if model.smoothing_layers else None
        self.smoothing = None
        if self.graph is not None and not model.smooths_each_step:
            query, item = (encoder.to(device).table.weight for encoder in model.id_encoders())
            self.smoothing = UpdateSmoothing(
                self.graph, (query, item), model.smoothing_layers, model.smoothing_every
            )
        self.cold_loss = None
        if model.cold_tower is not None:
            nums = torch.from_numpy(np.zeros(0, np.int64) if held_out is None else held_out)
            self.cold_loss = ColdItemLoss(model.to(device), self.items, items.first_known, nums)

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss over the batch's targets, a scalar."""
        batch = batch.to(self.device)
        tables = self.id_tables()
        sampled = self._sample(batch)
        items = self._encode(batch, sampled, tables.item)
        users = {name: c.index_select(0, batch.user_num) for name, c in self.users.items()}
        if batch.history is None:
            query_vectors = self.model.query_vectors(users, batch.context, id_table=tables.user)
        else:
            history = (items.states(batch.history.item_num), batch.history)
            vectors = self.model.query_vectors_at_positions(users, batch.context, history)
            query_vectors, batch = vectors[batch.mask], batch.by_target()
        query_vectors = query_vectors / self.model.temperature
        positives = self._positives(batch)
        loss = self.model.loss(
            LossInputs(
                query_vectors, batch, items, sampled, positives, self.in_batch_logq, self.sampler
            )
        )
        if self.cold_loss is not None:
            loss = loss + self.cold_loss(query_vectors, batch, positives)
        return loss

    def id_tables(self) -> IdTables:
        """The id tables smoothed over the interaction graph, with gradients to the towers' own; the
        towers' own where those are smoothed between steps."""
        if self.graph is None or self.smoothing is not None:
            return IdTables()
        query, item = self.model.id_encoders()
        return IdTables(
            *self.graph.smooth(query.table.weight, item.table.weight, self.model.smoothing_layers)
        )

    @torch.no_grad()
    def served_model(self) -> TwoTower:
        """The model as it is served: smoothed id tables are folded into a copy."""
        if self.graph is None or self.smoothing is not None:
            return self.model
        served = copy.deepcopy(self.model)
        for encoder, table in zip(served.id_encoders(), self.id_tables(), strict=True):
            assert table is not None
            encoder.table.weight.copy_(table)
        return served

    def center_new_items(self, served: TwoTower) -> None:
        """Center a served model's vectors of new items; see `ColdItemLoss.center`."""
        if self.cold_loss is not None:
            self.cold_loss.center(served, self.items)

    @cached_property
    def catalogue(self) -> EncoderInputs:
        """The features of all warm items, for steps that encode them all."""
        known = {name: column[self.first_known :] for name, column in self.items.items()}
        return self.model.item_tower.prepare(known)

    @cached_property
    def user_positives(self) -> PositivesOfUsers:
        """The training items of each user."""
        return PositivesOfUsers(self.train, self.device)

    def _positives(self, batch: Batch) -> UserPositives | None:
        """The known positives that are to be masked, None for a query's own targets alone."""
        # A query that has all of its user's items as targets masks them anyway.
        if not (self.mask_known_positives and batch.has_single_targets):
            return None
        return self.user_positives.of(batch.user_num)

    def _sample(self, batch: Batch) -> SampledItems | None:
        """The sampled items of a step, None if the loss needs none."""
        number = self.model.loss.num_sampled(batch)
        if not number:
            return None
        item_num, logq = self.sampler.sample(number)
        return SampledItems(item_num.to(self.device), logq.to(self.device))

    def _encode(
        self, batch: Batch, sampled: SampledItems | None, id_table: Tensor | None
    ) -> EncodedItems:
        """The items that a step needs, each encoded once."""
        rows: EncoderInputs
        if self.model.ranks_all_items:
            nums, rows = self.warm_item_nums, self.catalogue
        else:
            needed = [batch.item_num[batch.mask]]
            needed += [] if sampled is None else [sampled.item_num]
            needed += [] if batch.history is None else [batch.history.item_num.flatten()]
            nums = torch.unique(torch.cat(needed))
            rows = {name: column.index_select(0, nums) for name, column in self.items.items()}
        states = self.model.item_states(rows, id_table=id_table)
        return EncodedItems(nums, states, self.model.vectors_of_states(states))
