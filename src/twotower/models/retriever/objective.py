"""What a retriever is trained on: a batch's vectors, the items they are told from, the loss."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from twotower.config import RetrieverConfig
from twotower.data.batches.batches import Batch
from twotower.data.batches.negatives import (
    NegativeSampler,
    PopularitySampler,
    UniformSampler,
    in_batch_logq,
    mixed_logq,
)
from twotower.data.dataset.interactions import Interactions
from twotower.models.layers.embedding_bag import EncoderInputs
from twotower.models.layers.graph_smoothing import InteractionGraph
from twotower.models.positives.user_positives import PositivesOfUsers, UserPositives
from twotower.models.retriever import losses
from twotower.models.retriever.cold_item_loss import ColdLoss
from twotower.models.retriever.losses import CandidateVectors
from twotower.models.retriever.two_tower import TwoTower

WEIGHT_OF_MANY = 1.15
"""`negative_weight` where a query has many targets (Wu et al. 2023, and docs/experiments.md)."""


class RetrievalObjective:
    """The loss of a `TwoTower` on batches of a training part.

    Features of all users and warm items lie on the device; a step gathers rows of them. The full
    softmax encodes every warm item at each step, the others only those of the batch and its
    negatives. Cold items are no candidates: training has no evidence on them, for or against. A
    cold tower is trained beside it.
    """

    def __init__(
        self,
        model: TwoTower,
        train: Interactions,
        *,
        batch_size: int,
        device: torch.device,
        held_out: NDArray[np.int64] | None = None,
        spares_taken: bool = True,
    ) -> None:
        """Put what is needed of a training part on a device.

        Args:
            model: made for the schema that `train` is numbered by.
            train: the training part.
            batch_size: as its batches have it.
            device: of the work.
            held_out: (H,) nums of items that the cold tower is not to learn from.
            spares_taken: take what a user has for no negative of the user's queries of a single
                target; right where what was seen is not recommended again.
        """
        self.spares_taken = spares_taken
        self.model = model
        self.config: RetrieverConfig = model.config
        self.device = device
        self.train = train
        items = train.items
        self.users = {name: column.to(device) for name, column in train.users.features.items()}
        self.items = {
            name: column[: items.end_warm].to(device) for name, column in items.features.items()
        }
        self.first_known = items.first_known
        self.full_catalogue = torch.arange(items.first_known, items.end_warm, device=device)
        counts = torch.from_numpy(train.item_counts()[: items.end_warm])
        self.batch_logq = in_batch_logq(counts, batch_size).to(device)
        self.sampler: NegativeSampler = (
            UniformSampler(self.full_catalogue.cpu())
            if self.config.negative_sampler == "uniform"
            else PopularitySampler(counts)
        )
        self.graph = InteractionGraph(train, device) if model.smoothing_layers else None
        self.cold_loss = None
        if model.cold_tower is not None:
            nums = torch.from_numpy(np.zeros(0, np.int64) if held_out is None else held_out)
            self.cold_loss = ColdLoss(model.to(device), self.items, items.first_known, nums)

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss over the batch's targets, a scalar."""
        batch = batch.to(self.device)
        tables = self.id_tables()
        drawn = self._draw(batch)
        items = self._encode(batch, drawn, tables.item)
        users = {name: c.index_select(0, batch.user_num) for name, c in self.users.items()}
        if batch.history is None:
            query_vectors = self.model.query_vectors(users, batch.context, id_table=tables.user)
        else:
            history = (items.states(batch.history.item_num), batch.history)
            vectors = self.model.query_vectors_at_places(users, batch.context, history)
            query_vectors, batch = vectors[batch.mask], _target_by_target(batch)
        query_vectors = query_vectors / self.model.temperature
        # A query with all of its user's items as targets is not told that they are wrong anyway.
        spares = self.spares_taken and _has_single_targets(batch)
        taken = self.taken_items.of(batch.user_num) if spares else None
        loss = self._loss(query_vectors, batch, items, drawn, taken)
        return (
            loss if self.cold_loss is None else loss + self.cold_loss(query_vectors, batch, taken)
        )

    @cached_property
    def catalogue(self) -> EncoderInputs:
        """The features of all warm items, for steps that encode them all."""
        known = {name: column[self.first_known :] for name, column in self.items.items()}
        return self.model.item_tower.prepare(known)

    @cached_property
    def taken_items(self) -> PositivesOfUsers:
        """What each user has in the training part."""
        return PositivesOfUsers(self.train, self.device)

    def _loss(
        self,
        query_vectors: Tensor,
        batch: Batch,
        items: ItemTowerStates,
        drawn: Drawn | None,
        taken: UserPositives | None,
    ) -> Tensor:
        """The configured loss, on query vectors divided by the temperature."""
        match self.config.loss:
            case "softmax" if self.model.ranks_all_items:
                return self._full_softmax(query_vectors, batch, items, taken)
            case "softmax" | "sampled_softmax" | "bsl":
                return self._sampled_softmax(query_vectors, batch, items, drawn, taken)
            case "in_batch_softmax":
                return self._in_batch_softmax(query_vectors, batch, items, drawn)
            case "bpr" | "bce":
                return self._pairwise(query_vectors, batch, items, drawn)

    def negative_weight(self, batch: Batch) -> float:
        """c of the softmax losses. Above 1 it holds large scores down, which beside histories let
        validation fall after the first epochs."""
        weight = self.config.negative_weight
        if weight == "auto":
            return 1.0 if _has_single_targets(batch) else WEIGHT_OF_MANY
        return weight

    def id_tables(self) -> IdTables:
        """The id tables smoothed over the interaction graph, with gradients to the towers' own."""
        if self.graph is None:
            return IdTables()
        query, item = self.model.id_encoders()
        return IdTables(
            *self.graph.smooth(query.table.weight, item.table.weight, self.model.smoothing_layers)
        )

    @torch.no_grad()
    def served_model(self) -> TwoTower:
        """The model as it is served: smoothed id tables are folded into a copy."""
        if self.graph is None:
            return self.model
        served = copy.deepcopy(self.model)
        for encoder, table in zip(served.id_encoders(), self.id_tables(), strict=True):
            assert table is not None
            encoder.table.weight.copy_(table)
        return served

    def centre_new_items(self, served: TwoTower) -> None:
        """Give a served model the place of new items' vectors; see `ColdLoss.centre`."""
        if self.cold_loss is not None:
            self.cold_loss.centre(served, self.items)

    def _draw(self, batch: Batch) -> Drawn | None:
        """The sampled items of a step, None where the loss needs none."""
        match self.config.loss:
            case "softmax" if self.model.ranks_all_items:
                return None
            case "in_batch_softmax" if not self.config.mixed_negatives:
                return None
            case "bpr" | "bce":
                num = batch.num_targets * self.config.negatives_per_pair
            case _:
                num = self.config.num_negatives
        item_num, logq = self.sampler.sample(num)
        return Drawn(item_num.to(self.device), logq.to(self.device))

    def _encode(
        self, batch: Batch, drawn: Drawn | None, id_table: Tensor | None
    ) -> ItemTowerStates:
        """What the item tower makes of the items that a step needs, each encoded once."""
        rows: EncoderInputs
        if self.model.ranks_all_items:
            nums, rows = self.full_catalogue, self.catalogue
        else:
            needed = [batch.item_num[batch.mask]]
            needed += [] if drawn is None else [drawn.item_num]
            needed += [] if batch.history is None else [batch.history.item_num.flatten()]
            nums = torch.unique(torch.cat(needed))
            rows = {name: column.index_select(0, nums) for name, column in self.items.items()}
        return ItemTowerStates(self.model, nums, self.model.item_states(rows, id_table=id_table))

    def _full_softmax(
        self,
        query_vectors: Tensor,
        batch: Batch,
        items: ItemTowerStates,
        taken: UserPositives | None,
    ) -> Tensor:
        if taken is not None:
            taken = taken._replace(item_num=items.rows(taken.item_num))
        return losses.full_softmax(
            query_vectors,
            items.all_vectors,
            items.rows(batch.item_num),
            batch.mask,
            batch.weight,
            negative_weight=self.negative_weight(batch),
            taken=taken,
        )

    def _sampled_softmax(
        self,
        query_vectors: Tensor,
        batch: Batch,
        items: ItemTowerStates,
        drawn: Drawn | None,
        taken: UserPositives | None,
    ) -> Tensor:
        assert drawn is not None
        negatives = self._candidates(items, drawn.item_num, drawn.logq)
        positive_vectors = items.vectors(batch.item_num)
        targets = (query_vectors, positive_vectors, batch.item_num, batch.mask, batch.weight)
        if self.config.loss == "bsl":
            return losses.bsl(*targets, negatives, self.config.positive_temperature)
        return losses.sampled_softmax(
            *targets, negatives, negative_weight=self.negative_weight(batch), taken=taken
        )

    def _in_batch_softmax(
        self, query_vectors: Tensor, batch: Batch, items: ItemTowerStates, drawn: Drawn | None
    ) -> Tensor:
        item_num = batch.item_num[:, 0]
        logq: Tensor = self.batch_logq[item_num]
        negatives = None
        if drawn is not None:
            # An item can come from both samples: its expected counts add.
            num = len(drawn.item_num)
            logq = mixed_logq(logq, self._sampler_logq(item_num, num))
            both = mixed_logq(
                self.batch_logq[drawn.item_num], self._sampler_logq(drawn.item_num, num)
            )
            negatives = self._candidates(items, drawn.item_num, both)
        return losses.in_batch_softmax(
            query_vectors,
            items.vectors(item_num),
            item_num,
            batch.weight[:, 0],
            logq=logq if self.config.logq_correction else None,
            negatives=negatives,
            negative_weight=self.negative_weight(batch),
        )

    def _candidates(
        self, items: ItemTowerStates, item_num: Tensor, logq: Tensor
    ) -> CandidateVectors:
        corrected = logq if self.config.logq_correction else None
        return CandidateVectors(items.vectors(item_num), item_num, corrected)

    def _sampler_logq(self, item_num: Tensor, num: int) -> Tensor:
        return self.sampler.logq(item_num.cpu(), num).to(self.device)

    def _pairwise(
        self, query_vectors: Tensor, batch: Batch, items: ItemTowerStates, drawn: Drawn | None
    ) -> Tensor:
        assert drawn is not None
        item_num = batch.item_num[:, 0]
        shape = (len(item_num), self.config.negatives_per_pair)
        negative_vectors = items.vectors(drawn.item_num.reshape(shape))
        positive = (query_vectors * items.vectors(item_num)).sum(dim=1)
        negative = torch.einsum("bd,bkd->bk", query_vectors, negative_vectors)
        compute = losses.bpr if self.config.loss == "bpr" else losses.bce
        return compute(positive, negative, batch.weight[:, 0])


class IdTables(NamedTuple):
    """Tables that the towers look ids up in; None for their own.

    Attributes:
        user: (U, D).
        item: (I, D).
    """

    user: Tensor | None = None
    item: Tensor | None = None


class Drawn(NamedTuple):
    """Sampled items (M,) and the log of their expected counts (M,)."""

    item_num: Tensor
    logq: Tensor


class ItemTowerStates:
    """What the item tower makes of some items: states for histories, vectors for scores."""

    def __init__(self, model: TwoTower, nums: Tensor, states: Tensor) -> None:
        """M item nums, ascending, and their states (M, D)."""
        self.nums = nums
        self.all_states = states
        self.all_vectors = model.vectors_of_states(states)

    def rows(self, item_num: Tensor) -> Tensor:
        """Item nums (...) to rows here; any row for padding."""
        return torch.searchsorted(self.nums, item_num).clamp(max=len(self.nums) - 1)

    def states(self, item_num: Tensor) -> Tensor:
        """Item nums (...) to (..., D)."""
        return F.embedding(self.rows(item_num), self.all_states)

    def vectors(self, item_num: Tensor) -> Tensor:
        """Item nums (...) to (..., D)."""
        return F.embedding(self.rows(item_num), self.all_vectors)


def _has_single_targets(batch: Batch) -> bool:
    return batch.item_num.shape[1] == 1


def _target_by_target(batch: Batch) -> Batch:
    """The T targets of a batch as one query each."""
    rows, _ = batch.mask.nonzero(as_tuple=True)
    item_num = batch.item_num[batch.mask][:, None]
    return Batch(
        user_num=batch.user_num[rows],
        item_num=item_num,
        mask=torch.ones_like(item_num, dtype=torch.bool),
        weight=batch.weight[batch.mask][:, None],
        context={},
    )
