"""The loss of the tower of new items."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from twotower.data.batches.batches import Batch
from twotower.data.batches.negatives import UniformSampler
from twotower.data.dataset.entities import Features
from twotower.models.positives.user_positives import UserPositives
from twotower.models.retriever.losses.candidates import CandidateVectors
from twotower.models.retriever.losses.sampled_softmax import sampled_softmax
from twotower.models.retriever.losses.softmax import full_softmax
from twotower.models.retriever.two_tower import TwoTower
from twotower.parallel.processes import ONE, ProcessGroup

SHARE = 0.4
"""Of the items that are learned from, so many are targets and candidates of a step."""
MIN_ITEMS = 1000
"""So many are, at least, where there are as many."""
ITEMS_PER_CHUNK = 65_536
"""Items encoded at a time when vectors are centered."""
MAX_KEPT = 250_000
"""The content of up to so many items is kept, 300 MB; of more, that of a step's items is worked out
in each step."""


class ColdItemLoss:
    """The softmax of a step's targets against other items, all with vectors of the cold tower.

    If the model ranks all items, each step uses a random part of them as targets and candidates,
    which is cheaper in proportion.

    Query vectors get no gradient and the tower shares no weights, so the vectors of users and of
    warm items are the same with and without it. It is the plain softmax, `negative_weight` 1, which
    ranks new items best among themselves.

    Items that are held out are neither targets nor candidates.
    """

    def __init__(
        self,
        model: TwoTower,
        items: Features,
        first_known: int,
        held_out: Tensor,
        *,
        processes: ProcessGroup = ONE,
    ) -> None:
        """Find the directions of the cold tower.

        Args:
            model: with a cold tower.
            items: name -> (R, ...) of the rows 0 .. R - 1 of the warm items.
            first_known: of the item nums.
            held_out: (H,) item nums.
            processes: that train together; each has the features of all items.
        """
        self.processes = processes
        assert model.cold_tower is not None
        self.model, tower = model, model.cold_tower
        device = model.device
        tower.fit({name: column[first_known:] for name, column in items.items()})
        nums = torch.arange(first_known, len(next(iter(items.values()))))
        self.nums = nums[~torch.isin(nums, held_out)].to(device)
        self.rows = torch.full((first_known + len(nums),), -1, device=device)
        self.rows[self.nums] = torch.arange(len(self.nums), device=device)
        self.sampler = UniformSampler(torch.arange(len(self.nums)))
        self.content: Tensor | None = None
        read = tower.bag_names + tower.names
        if len(self.nums) <= MAX_KEPT:
            of_content = tower.bag_names or tower.names
            self.content = tower.content(
                {name: items[name].to(device)[self.nums] for name in of_content}
            )
            read = tower.names
        self.items: Features = {name: items[name].to(device) for name in read}

    @torch.no_grad()
    def center(self, model: TwoTower, items: Features) -> None:
        """Shift the vectors of all new items alike, so that the items that were learned from have
        the same mean vector in both towers.

        The softmax among vectors of the cold tower does not change when a number is added to all
        logits of a query. So the tower leaves that number undetermined for each user: some users'
        lists would consist of new items, others' would have none. With equal means a user's mean
        logit is the same in both towers; the order among new items does not change.

        Args:
            model: as it is served, without dropout.
            items: name -> (R, ...) of the rows 0 .. R - 1 of the warm items, all features.
        """
        model.cold_shift.zero_()
        gap = torch.zeros_like(model.cold_shift)
        for rows in torch.split(
            torch.arange(len(self.nums), device=self.nums.device), ITEMS_PER_CHUNK
        ):
            known = {name: column[self.nums[rows]] for name, column in items.items()}
            gap += (model.item_vectors(known) - self._new(model, rows))[:, :-1].sum(dim=0)
        model.cold_shift.copy_(gap / max(len(self.nums), 1))

    def __call__(
        self, query_vectors: Tensor, batch: Batch, positives: UserPositives | None = None
    ) -> Tensor:
        """The mean loss, a scalar.

        Args:
            query_vectors: (B, D), divided by the temperature.
            batch: B queries with their targets.
            positives: the known positives of the queries' users. Default: their targets.

        With several processes it is this one's part of the mean; all processes.
        """
        loss, weight = self._own_mean(query_vectors.detach(), batch, positives)
        if not self.processes.are_several:
            return loss
        total = self.processes.sum(weight).clamp(min=torch.finfo(weight.dtype).tiny)
        return loss * (weight / total)

    def _own_mean(
        self, query_vectors: Tensor, batch: Batch, positives: UserPositives | None
    ) -> tuple[Tensor, Tensor]:
        """The mean loss of this process's targets, and the sum of their weights."""
        rows = self.rows[batch.item_num]
        mask = batch.mask & (rows >= 0)
        rows = rows.clamp(min=0)
        positives = among(positives, self.rows)
        if self.model.ranks_all_items:
            chosen = self._draw()
            places = torch.full_like(self.nums, -1)
            places[chosen] = torch.arange(len(chosen), device=places.device)
            rows = places[rows]
            mask = mask & (rows >= 0)
            vectors = self._vectors(chosen)
            positives = among(positives, places)
            # A query without a target costs nothing, so it need not be multiplied with all items.
            asked = mask.any(dim=1)
            loss = full_softmax(
                query_vectors[asked],
                vectors,
                rows[asked],
                mask[asked],
                batch.weight[asked],
                positives=of_queries(positives, asked),
            )
            return loss, batch.weight[mask].sum()
        drawn, logq = (t.to(rows.device) for t in self.sampler.sample(self.num_negatives))
        needed = torch.unique(torch.cat([rows[mask], drawn]))
        vectors = self._vectors(needed)
        places = torch.searchsorted(needed, rows).clamp(max=len(needed) - 1)
        negatives = CandidateVectors(vectors[torch.searchsorted(needed, drawn)], drawn, logq)
        positive_vectors = F.embedding(places, vectors)
        targets = (query_vectors, positive_vectors, rows, mask, batch.weight)
        loss = sampled_softmax(*targets, negatives, positives=positives)
        return loss, batch.weight[mask].sum()

    def _draw(self) -> Tensor:
        """Rows of the items of a step, ascending."""
        number = len(self.nums)
        chosen = torch.randperm(number, device=self.nums.device)
        return chosen[: max(round(SHARE * number), min(MIN_ITEMS, number))].sort().values

    def _new(self, model: TwoTower, rows: Tensor) -> Tensor:
        """(N, D) as new items, those at places `rows` (N,) of `nums`."""
        nums = self.nums[rows]
        items = {name: column.index_select(0, nums) for name, column in self.items.items()}
        return model.cold_vectors(items, None if self.content is None else self.content[rows])

    def _vectors(self, rows: Tensor) -> Tensor:
        """(N, D), without the offset: it is the same for all."""
        return F.pad(self._new(self.model, rows)[:, :-1], (0, 1))

    @property
    def num_negatives(self) -> int:
        """Sampled items a step."""
        return self.model.loss.num_negatives


def of_queries(positives: UserPositives | None, asked: Tensor) -> UserPositives | None:
    """The same lists for those of the queries (B,) that are asked."""
    if positives is None:
        return None
    owner = positives.owner
    if owner is None:
        owner = torch.arange(len(asked), device=asked.device)
    return positives._replace(owner=owner[asked])


def among(positives: UserPositives | None, places: Tensor) -> UserPositives | None:
    """The same items by their places (R,), without those that have none (-1)."""
    if positives is None:
        return None
    found = places[positives.item_num]
    return positives._replace(rows=positives.rows[found >= 0], item_num=found[found >= 0])
