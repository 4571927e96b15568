"""What a retriever is trained on: the vectors of a batch and of the items that it is contrasted
with, handed to the loss."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.batches.batches import Batch
from twotower.data.batches.negatives import (
    NegativeSampler,
    PopularitySampler,
    UniformSampler,
    in_batch_logq,
)
from twotower.data.dataset.entities import EntityTable, Features
from twotower.data.dataset.interactions import Interactions
from twotower.models.layers.embedding_bag import EncoderInputs
from twotower.models.layers.graph_smoothing import InteractionGraph, UpdateSmoothing
from twotower.models.positives.user_positives import PositivesOfUsers, UserPositives
from twotower.models.retriever.cold_item_loss import ColdItemLoss
from twotower.models.retriever.losses.base import EncodedItems, LossInputs, SampledItems, Spread
from twotower.models.retriever.sharding import joined
from twotower.models.retriever.two_tower import TwoTower
from twotower.parallel.exchange import Exchange
from twotower.parallel.processes import ONE, ProcessGroup
from twotower.parallel.shards import Shards


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
        processes: ProcessGroup = ONE,
    ) -> None:
        """Put what is needed of a training part on a device.

        Args:
            model: made for the schema that `train` is numbered by; for several processes with
                `shard_tables`.
            train: the training part.
            batch_size: of its batches.
            device: to compute on.
            held_out: (H,) nums of items that the cold item tower must not learn from.
            mask_known_positives: in queries with a single target, do not use the user's other
                training items as negatives. Right where recommendations leave out seen items.
            processes: that train together, each with the users and the items whose rows it has.
        """
        self.mask_known_positives = mask_known_positives
        self.model = model
        self.device = device
        self.train = train
        items = train.items
        self.processes = processes
        self.user_shards = Shards(train.users.end_warm, processes)
        self.item_shards = Shards(items.end_warm, processes)
        self.users = on_device(train.users, self.user_shards, device)
        self.items = on_device(items, self.item_shards, device)
        self.first_known = items.first_known
        own = torch.arange(items.first_known, items.end_warm)
        if processes.are_several:
            own = own[torch.from_numpy(self.item_shards.has(own.numpy()))]
        self.warm_item_nums = own.to(device)
        counts = torch.from_numpy(train.item_counts()[: items.end_warm])
        self.in_batch_logq = in_batch_logq(counts, batch_size).to(device)
        self.sampler: NegativeSampler = (
            UniformSampler(torch.arange(items.first_known, items.end_warm))
            if model.config.negative_sampler == "uniform"
            else PopularitySampler(counts)
        )
        self.graph = InteractionGraph(train, device, processes) if model.smoothing_layers else None
        self.smoothing = None
        if self.graph is not None and not model.smooths_each_step:
            query, item = (encoder.to(device).table.weight for encoder in model.id_encoders())
            self.smoothing = UpdateSmoothing(
                self.graph, (query, item), model.smoothing_layers, model.smoothing_every
            )
        self.cold_loss = None
        if model.cold_tower is not None:
            nums = torch.from_numpy(np.zeros(0, np.int64) if held_out is None else held_out)
            self.cold_loss = ColdItemLoss(
                model.to(device), self._warm_items(), items.first_known, nums, processes=processes
            )

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss over the batch's targets, a scalar; with several processes this one's part
        of it, whose sum over all is the mean. All processes."""
        batch = batch.to(self.device)
        tables = self.id_tables()
        sampled = self._sample(batch)
        everyone = self._items_of_all_batches(batch)
        items, read = self._encode(batch, sampled, everyone, tables.item)
        users = self._users(batch)
        if batch.history is None:
            query_vectors = self.model.query_vectors(users, batch.context, id_table=tables.user)
        else:
            assert read is not None
            vectors = self.model.query_vectors_at_positions(
                users, batch.context, (read, batch.history)
            )
            query_vectors, batch = vectors[batch.mask], batch.by_target()
        query_vectors = query_vectors / self.model.temperature
        positives = self._positives(batch)
        weight = batch.weight[batch.mask].sum()
        total_weight = self.processes.sum(weight).clamp(min=torch.finfo(weight.dtype).tiny)
        ranks_all = self.model.ranks_all_items
        loss = self.model.loss(
            LossInputs(
                query_vectors,
                batch,
                items,
                sampled,
                positives,
                self.in_batch_logq,
                self.sampler,
                everyone,
                self._spread(total_weight),
            )
        )
        if self.processes.are_several and not ranks_all:
            loss = loss * (weight / total_weight)
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
            *self.graph.smooth(
                query.table.weight.float(), item.table.weight.float(), self.model.smoothing_layers
            )
        )

    @torch.no_grad()
    def gathered_model(self) -> TwoTower | None:
        """The model as it is served, for the first process, and None for the others; all
        processes."""
        if self.processes.are_several:
            return joined(self.model, self.id_tables(), self.processes, None)
        return self.served_model()

    @torch.no_grad()
    def served_model(self, user_num: NDArray[np.int64] | None = None) -> TwoTower:
        """The model as it is served: smoothed id tables are folded into a copy.

        Args:
            user_num: whom this one of several processes will ask about, the only users that its
                model has then; all processes.
        """
        if self.processes.are_several:
            asked = np.zeros(0, np.int64) if user_num is None else user_num
            model = joined(self.model, self.id_tables(), self.processes, asked)
            assert model is not None
            return model
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
            self.cold_loss.center(served, self._warm_items())

    def _warm_items(self) -> Features:
        """The features of all rows of items that training saw, those of other processes, too."""
        if not self.processes.are_several:
            return self.items
        end = self.train.items.end_warm
        features = self.train.items.features
        return {name: column[:end].to(self.device) for name, column in features.items()}

    @cached_property
    def catalogue(self) -> EncoderInputs:
        """The features of all warm items of this process, for steps that encode them all."""
        if self.processes.are_several:
            places = self.item_shards.local(self.warm_item_nums)
            known = {name: column[places] for name, column in self.items.items()}
        else:
            known = {name: column[self.first_known :] for name, column in self.items.items()}
        return self.model.item_tower.prepare(known)

    @cached_property
    def user_positives(self) -> PositivesOfUsers:
        """The training items of each user."""
        train = self.train
        if self.processes.are_several:
            train = train.take(np.flatnonzero(self.user_shards.has(train.user_num)))
        return PositivesOfUsers(train, self.device)

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
        if not self.model.loss.shares_sample:
            self.processes.draw_apart()
        item_num, logq = self.sampler.sample(number)
        self.processes.draw_apart()
        return SampledItems(item_num.to(self.device), logq.to(self.device))

    def _items_of_all_batches(self, batch: Batch) -> Tensor:
        """(C,) of the targets, those of other processes' batches among them where the loss
        contrasts with these."""
        own = batch.item_num[batch.mask]
        return self.processes.gather(own) if self.model.loss.contrasts_batch else own

    def _users(self, batch: Batch) -> Features:
        """The features of a batch's users."""
        rows = batch.user_num
        if self.processes.are_several:
            rows = self.user_shards.local(rows)
        return {name: column.index_select(0, rows) for name, column in self.users.items()}

    def _spread(self, total_weight: Tensor) -> Spread | None:
        """What a loss that ranks all items needs to know of several processes."""
        if not (self.processes.are_several and self.model.ranks_all_items):
            return None
        return Spread(self.item_shards, total_weight)

    def _encode(
        self,
        batch: Batch,
        sampled: SampledItems | None,
        batch_items: Tensor,
        id_table: Tensor | None,
    ) -> tuple[EncodedItems, Tensor | None]:
        """The items that a step needs, each encoded once, by the process that has it; and what
        histories (B, P) read of theirs, (B, P, D)."""
        history = batch.history
        if self.model.ranks_all_items:
            nums = self.warm_item_nums
            states = self.model.item_states(self.catalogue, id_table=id_table)
            items = EncodedItems(nums, states, self.model.vectors_of_states(states))
            if history is None or not self.processes.are_several:
                return items, None if history is None else items.states(history.item_num)
            read = torch.unique(history.item_num)
            exchange = Exchange(self.item_shards, read)
            answers = exchange.answer(items.states(exchange.asked))
            return items, F.embedding(torch.searchsorted(read, history.item_num), answers)
        needed = [batch_items]
        needed += [] if sampled is None else [sampled.item_num]
        needed += [] if history is None else [history.item_num.flatten()]
        nums = torch.unique(torch.cat(needed))
        states = self._states(nums, id_table)
        items = EncodedItems(nums, states, self.model.vectors_of_states(states))
        return items, None if history is None else items.states(history.item_num)

    def _states(self, nums: Tensor, id_table: Tensor | None) -> Tensor:
        """What the item tower makes of items (N,), (N, D)."""
        if not self.processes.are_several:
            rows = {name: column.index_select(0, nums) for name, column in self.items.items()}
            return self.model.item_states(rows, id_table=id_table)
        exchange = Exchange(self.item_shards, nums)
        asked, places = torch.unique(exchange.asked, return_inverse=True)
        local = self.item_shards.local(asked)
        rows = {name: column.index_select(0, local) for name, column in self.items.items()}
        states = self.model.item_states(rows, id_table=id_table)
        return exchange.answer(F.embedding(places, states))


def on_device(table: EntityTable, shards: Shards, device: torch.device) -> Features:
    """The features of users or items, on a device: all rows, or with several processes this one's
    of those that training saw."""
    if not shards.processes.are_several:
        end = table.end_warm if table.side == "item" else len(table)
        return {name: column[:end].to(device) for name, column in table.features.items()}
    # Places that are not used have the features of padding.
    rows = shards.own.clamp(min=0)
    return {
        name: column.index_select(0, rows).to(device) for name, column in table.features.items()
    }
