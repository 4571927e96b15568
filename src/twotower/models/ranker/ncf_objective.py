"""What the feature-aware ranker is trained on: each target against items that its user does not
have, some of them hard."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from twotower.config import RankerConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.batches.batches import Batch
from twotower.data.batches.known_pairs import KnownPairs
from twotower.data.batches.negatives import ListSampler
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.entities import tensor_of
from twotower.data.dataset.interactions import Interactions
from twotower.models.layers.embedding_bag import EncoderInputs
from twotower.models.positives.user_item_counts import BatchItemCounts, UserItemCounts
from twotower.models.ranker.ncf import ItemStates, NeuralCF, mean_of_positives
from twotower.models.retriever.losses.bce import bce


class NegativeMixer:
    """Draws a target's negatives: one that its user dislikes, where there are such, a share of the
    others from a pool of its user, and the rest uniformly from the warm items that the user does
    not have."""

    def __init__(
        self,
        train: Interactions,
        config: RankerConfig,
        pool: NDArray[np.int64] | None,
        device: torch.device,
        dislikes: Ragged | None = None,
    ) -> None:
        """Prepare the draws.

        Args:
            train: what the user has.
            config: how many negatives.
            pool: (len(users), W) item nums, a negative one where there is none; None for no hard
                negatives.
            device: of the tensors.
            dislikes: (len(users),) warm items that are not positives of the user.
        """
        items = train.items
        self.first, self.end = items.first_known, items.end_warm
        self.known = KnownPairs(
            train.user_num,
            train.item_num,
            num_users=len(train.users),
            num_items=len(items),
            device=device,
        )
        ordered = None if pool is None else np.sort(pool.astype(np.int32), axis=1)
        self.pool = None if ordered is None else torch.from_numpy(ordered).to(device)
        self.disliked = None
        if dislikes is not None and len(dislikes.values):
            self.disliked = ListSampler(dislikes, num_items=len(items), device=device)
        self.num_disliked = 0 if self.disliked is None else 1
        others = config.num_negatives - self.num_disliked
        self.num_hard = 0 if pool is None else round(config.hard_share * others)
        self.num_uniform = others - self.num_hard

    def draw(self, user_num: Tensor) -> Tensor:
        """(T, C) negatives of targets of users (T,); a hard or disliked one that is missing becomes
        a uniform one."""
        number = self.num_hard + self.num_uniform + self.num_disliked
        item_num = self.known.draw_others(user_num, number, first=self.first, end=self.end)
        if self.pool is not None and self.num_hard:
            width = self.pool.shape[1]
            places = torch.randint(width, (len(user_num), self.num_hard), device=user_num.device)
            hard = self.pool[user_num[:, None], places].long()
            item_num[:, : self.num_hard] = torch.where(
                hard >= 0, hard, item_num[:, : self.num_hard]
            )
        if self.disliked is not None:
            disliked = self.disliked.draw(user_num)
            item_num[:, -1] = torch.where(self.disliked.has(user_num), disliked, item_num[:, -1])
        return item_num

    def logq(self, user_num: Tensor, item_num: Tensor) -> Tensor:
        """(T, C) the log of how often each of these negatives is expected among the C of its
        target: uniformly, as a hard one and as one that the user dislikes."""
        uniform = torch.full((len(user_num), 1), float(self.num_uniform), device=item_num.device)
        hard = torch.zeros(item_num.shape, device=item_num.device)
        if self.pool is not None and self.num_hard:
            pool = self.pool[user_num]
            uniform += self.num_hard * (pool < 0).float().mean(dim=1, keepdim=True)
            nums = item_num.to(pool.dtype)
            last, first = (torch.searchsorted(pool, nums, right=right) for right in (True, False))
            hard = self.num_hard * (last - first).float() / pool.shape[1]
        expected = uniform / (self.end - self.first) + hard
        if self.disliked is not None:
            missing = (~self.disliked.has(user_num))[:, None] / (self.end - self.first)
            expected = expected + missing + self.disliked.chance(user_num, item_num)
        return expected.log()


class RankingObjective:
    """The loss of a `NeuralCF` on batches of a training part.

    A target never sees itself among its user's positives. If a step needs more rows of items than
    there are, all warm items are encoded, else those that it needs, each once.
    """

    def __init__(
        self,
        model: NeuralCF,
        train: Interactions,
        *,
        device: torch.device,
        pool: NDArray[np.int64] | None = None,
        dislikes: Ragged | None = None,
    ) -> None:
        """`pool`, `dislikes`: as in `NegativeMixer`."""
        self.model = model
        self.config: RankerConfig = model.config
        self.device = device
        self.users = {name: column.to(device) for name, column in train.users.features.items()}
        end = train.items.end_warm
        self.items = {
            name: column[:end].to(device) for name, column in train.items.features.items()
        }
        self.num_items = end
        self.negatives = NegativeMixer(train, self.config, pool, device, dislikes)
        self.user_positives = UserItemCounts(train, device) if self.config.user_positives else None

    @cached_property
    def all_items(self) -> EncoderInputs:
        """The features of all warm items, for steps that encode them all."""
        return self.model.prepare_items(self.items)

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss over the batch's targets, a scalar."""
        batch = batch.to(self.device)
        rows, _ = batch.mask.nonzero(as_tuple=True)
        target, weight = batch.item_num[batch.mask], batch.weight[batch.mask]
        drawn = self.negatives.draw(batch.user_num[rows])
        candidates = torch.cat([target[:, None], drawn], dim=1)
        positives = None
        if self.user_positives is not None:
            positives = self.user_positives.of(batch.user_num)
        items = self._encode(candidates, positives, batch)
        logits = self.model(
            self._query_states(batch, rows, target, items, positives),
            F.embedding(items.rows(candidates), items.made.states),
        )
        if self.config.loss == "bce":
            return bce(logits[:, 0], logits[:, 1:], weight)
        return sampled_softmax(logits, self.negatives.logq(batch.user_num[rows], drawn), weight)

    def _query_states(
        self,
        batch: Batch,
        rows: Tensor,
        target: Tensor,
        items: Encoded,
        positives: BatchItemCounts | None,
    ) -> Tensor:
        """(T, S), of query rows (T,) with targets (T,)."""
        users = {name: c.index_select(0, batch.user_num) for name, c in self.users.items()}
        known = self._known(len(batch))
        if ID_FEATURE in users:
            users[ID_FEATURE] = torch.where(known, tensor_of(users, ID_FEATURE), 1)
        states = F.embedding(rows, self.model.user_states(users, len(batch)))
        context = batch.context
        if batch.history is not None:
            context = {name: column[batch.mask] for name, column in context.items()}
        mean = read = None
        if positives is not None:
            total = F.embedding_bag(
                items.rows(positives.item_num),
                items.made.given,
                positives.offsets,
                mode="sum",
                per_sample_weights=positives.times.to(items.made.given.dtype),
            )
            own = F.embedding(items.rows(target), items.made.given)
            owner = positives.owner[rows]
            copies = positives.copies(owner, target)
            count = positives.totals[owner] - copies
            mean = mean_of_positives(F.embedding(owner, total) - own * copies[:, None], count)
            mean = mean * known[rows, None]
        if batch.history is not None:
            assert self.model.history is not None
            given = F.embedding(items.rows(batch.history.item_num), items.made.given)
            read = self.model.history(given, batch.history)[batch.mask]
        return self.model.query_states(states, context, mean, read)

    def _known(self, number: int) -> Tensor:
        """(B,) which users of a batch are not treated as unknown."""
        share = self.model.unknown_user_share if self.model.training else 0.0
        return torch.rand(number, device=self.device) >= share

    def _encode(
        self, candidates: Tensor, positives: BatchItemCounts | None, batch: Batch
    ) -> Encoded:
        needed = [candidates.flatten()]
        needed += [] if positives is None else [positives.item_num]
        needed += [] if batch.history is None else [batch.history.item_num.flatten()]
        if sum(len(part) for part in needed) >= self.num_items:
            return Encoded(None, self.model.item_states(self.all_items, self.num_items))
        nums = torch.unique(torch.cat(needed))
        rows = {name: column.index_select(0, nums) for name, column in self.items.items()}
        return Encoded(nums, self.model.item_states(rows, len(nums)))


class Encoded(NamedTuple):
    """Items (M,), ascending, or None for all, and what the model makes of them."""

    nums: Tensor | None
    made: ItemStates

    def rows(self, item_num: Tensor) -> Tensor:
        """Item nums (...) to rows here; any row for padding."""
        if self.nums is None:
            return item_num
        return torch.searchsorted(self.nums, item_num).clamp(max=len(self.nums) - 1)


def sampled_softmax(logits: Tensor, logq: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of each target against its own negatives, each of which stands for 1 / q items
    (see `models/retriever/losses/__init__.py`); the weighted mean over targets.

    Args:
        logits: (T, 1 + C), the target's first.
        logq: (T, C) of the negatives.
        weight: (T,).
    """
    corrected = torch.cat([logits[:, :1], logits[:, 1:] - logq], dim=1)
    per_target = corrected.logsumexp(dim=1) - logits[:, 0]
    return (per_target * weight).sum() / weight.sum().clamp(min=torch.finfo(torch.float32).tiny)
