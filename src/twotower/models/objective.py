"""What a retriever is trained on: a batch's vectors, the items they are told from, the loss."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from twotower.config import RetrieverConfig
from twotower.data.batches import Batch
from twotower.data.interactions import Interactions
from twotower.data.negatives import (
    NegativeSampler,
    PopularitySampler,
    UniformSampler,
    in_batch_logq,
    mixed_logq,
)
from twotower.models import losses
from twotower.models.graph import InteractionGraph
from twotower.models.losses import Candidates
from twotower.models.two_tower import TwoTower


class RetrievalObjective:
    """The loss of a `TwoTower` on batches of a training part.

    Features of all users and warm items lie on the device; a step gathers rows of them. The full
    softmax encodes every warm item at each step, the others only those of the batch and its
    negatives. Cold items are no candidates: training has no evidence on them, for or against.
    """

    def __init__(
        self, model: TwoTower, train: Interactions, *, batch_size: int, device: torch.device
    ) -> None:
        self.model = model
        self.config: RetrieverConfig = model.config
        self.device = device
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

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss over the batch's targets, a scalar."""
        batch = batch.to(self.device)
        self.smooth()
        users = {n: c.index_select(0, batch.user_num) for n, c in self.users.items()}
        query_vectors = self.model.query_vectors(users, batch.context) / self.model.temperature
        match self.config.loss:
            case "softmax" if self.model.ranks_all_items:
                return self._full_softmax(query_vectors, batch)
            case "softmax" | "sampled_softmax" | "bsl":
                return self._sampled_softmax(query_vectors, batch)
            case "in_batch_softmax":
                return self._in_batch_softmax(query_vectors, batch)
            case "bpr" | "bce":
                return self._pairwise(query_vectors, batch)

    def smooth(self) -> None:
        """Give the towers id tables that are smoothed over the interaction graph, if configured."""
        if self.graph is not None:
            query, item = self.model.id_encoders()
            query.smoothed, item.smoothed = self.graph.smooth(
                query.table.weight, item.table.weight, self.model.smoothing_layers
            )

    def served_model(self) -> TwoTower:
        """The model as it is served: smoothed id tables are folded into a copy."""
        if self.graph is None:
            return self.model
        with torch.no_grad():
            self.smooth()
            tables = [encoder.smoothed for encoder in self.model.id_encoders()]
            self.forget_smoothed()
            served = copy.deepcopy(self.model)
            for encoder, table in zip(served.id_encoders(), tables, strict=True):
                assert table is not None
                encoder.table.weight.copy_(table)
        return served

    def forget_smoothed(self) -> None:
        """Let go of the last step's smoothed tables and their graph."""
        for encoder in self.model.id_encoders():
            encoder.smoothed = None

    def item_vectors(self, item_num: Tensor) -> Tensor:
        """Item nums (...) to vectors (..., D)."""
        flat = item_num.reshape(-1)
        rows = {name: column.index_select(0, flat) for name, column in self.items.items()}
        vectors = self.model.item_vectors(rows)
        return vectors.reshape(*item_num.shape, -1)

    def sample(self, num: int) -> Candidates:
        """`num` sampled items with their log q (or none, without logQ correction)."""
        item_num, logq = self.sampler.sample(num)
        item_num = item_num.to(self.device)
        return Candidates(
            self.item_vectors(item_num),
            item_num,
            logq.to(self.device) if self.config.logq_correction else None,
        )

    def _full_softmax(self, query_vectors: Tensor, batch: Batch) -> Tensor:
        item_vectors = self.item_vectors(self.full_catalogue)
        targets = (batch.item_num - self.first_known).clamp(min=0)
        return losses.full_softmax(
            query_vectors,
            item_vectors,
            targets,
            batch.mask,
            batch.weight,
            negative_weight=self.config.negative_weight,
        )

    def _sampled_softmax(self, query_vectors: Tensor, batch: Batch) -> Tensor:
        negatives = self.sample(self.config.num_negatives)
        positive_vectors = self.item_vectors(batch.item_num)
        targets = (query_vectors, positive_vectors, batch.item_num, batch.mask, batch.weight)
        if self.config.loss == "bsl":
            return losses.bsl(*targets, negatives, self.config.positive_temperature)
        return losses.sampled_softmax(
            *targets, negatives, negative_weight=self.config.negative_weight
        )

    def _in_batch_softmax(self, query_vectors: Tensor, batch: Batch) -> Tensor:
        item_num = batch.item_num[:, 0]
        item_vectors = self.item_vectors(item_num)
        logq: Tensor | None = self.batch_logq[item_num]
        negatives = None
        if self.config.mixed_negatives:
            num = self.config.num_negatives
            negatives = self.sample(num)
            # An item can come from both samples: its expected counts add.
            logq = mixed_logq(self.batch_logq[item_num], self._sampler_logq(item_num, num))
            drawn = mixed_logq(
                self.batch_logq[negatives.item_num], self._sampler_logq(negatives.item_num, num)
            )
            negatives = negatives._replace(logq=drawn if self.config.logq_correction else None)
        return losses.in_batch_softmax(
            query_vectors,
            item_vectors,
            item_num,
            batch.weight[:, 0],
            logq=logq if self.config.logq_correction else None,
            negatives=negatives,
            negative_weight=self.config.negative_weight,
        )

    def _sampler_logq(self, item_num: Tensor, num: int) -> Tensor:
        return self.sampler.logq(item_num.cpu(), num).to(self.device)

    def _pairwise(self, query_vectors: Tensor, batch: Batch) -> Tensor:
        item_num = batch.item_num[:, 0]
        shape = (len(item_num), self.config.negatives_per_pair)
        drawn, _ = self.sampler.sample(math.prod(shape))
        negative_vectors = self.item_vectors(drawn.to(self.device).reshape(shape))
        positive = (query_vectors * self.item_vectors(item_num)).sum(dim=1)
        negative = torch.einsum("bd,bkd->bk", query_vectors, negative_vectors)
        compute = losses.bpr if self.config.loss == "bpr" else losses.bce
        return compute(positive, negative, batch.weight[:, 0])
