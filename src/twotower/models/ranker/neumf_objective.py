"""What GMF, MLP and NeuMF are trained on: observed pairs against sampled ones (He et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.data.batches.batches import Batch
from twotower.data.batches.known_pairs import KnownPairs
from twotower.data.dataset.interactions import Interactions
from twotower.models.ranker.neumf import NeuMF
from twotower.models.retriever.losses.bce import bce


class PairObjective:
    """Binary cross-entropy of each pair and of `num_negatives` items that its user does not have,
    drawn anew at each step (eq. 7). Tables count in the rows of `train.users` and `train.items`.

    With `l2`, each term is penalised by that times the squared lengths of its two embeddings, so
    that rows are penalised as often as they occur (Rendle et al. 2020, section 3).
    """

    def __init__(
        self,
        model: NeuMF,
        train: Interactions,
        *,
        num_negatives: int,
        l2: float = 0.0,
        device: torch.device,
        compiled: bool = False,
    ) -> None:
        """`compiled`: let torch fuse the model's operations, which takes it a while at first."""
        there = train.item_num >= 0
        model.check(torch.from_numpy(train.user_num), torch.from_numpy(train.item_num[there]))
        self.model = model
        self.logits = torch.compile(model.logits, dynamic=False) if compiled else model.logits
        self.num_negatives = num_negatives
        self.l2 = l2
        self.device = device
        self.first, self.end = train.items.first_known, train.items.end_warm
        self.known = KnownPairs(
            train.user_num,
            train.item_num,
            num_users=len(train.users),
            num_items=len(train.items),
            device=device,
        )

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the batch's pairs of the sum of their 1 + num_negatives terms."""
        batch = batch.to(self.device)
        negatives = self.known.draw_others(
            batch.user_num, self.num_negatives, first=self.first, end=self.end
        )
        item_num = torch.cat([batch.item_num, negatives], dim=1)
        logits = self.logits(batch.user_num, item_num)
        loss = bce(logits[:, 0], logits[:, 1:], batch.weight[:, 0])
        if self.l2:
            users = self.model.users(batch.user_num).square().sum() * item_num.shape[1]
            items = self.model.items(item_num).square().sum()
            loss = loss + self.l2 * (users + items) / len(item_num)
        return loss
