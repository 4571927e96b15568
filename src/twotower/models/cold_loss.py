"""What the tower of new items is trained on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from twotower.data.batches import Batch
from twotower.data.entities import Features
from twotower.data.negatives import UniformSampler
from twotower.models import losses
from twotower.models.losses import Candidates
from twotower.models.taken import Taken
from twotower.models.two_tower import TwoTower


class ColdLoss:
    """The softmax of a step's targets, told by the cold tower, against other items told by it.

    The queries are taken as they are, and the tower shares no weight: it learns to serve users, who
    learn nothing from it, so that what is known of warm items is as it would be without. It is the
    plain softmax, `negative_weight` 1, by which new items are ranked best among themselves.

    Items that are held out are neither targets nor candidates.
    """

    def __init__(self, model: TwoTower, items: Features, first_known: int, held_out: Tensor):
        """Find the directions of the cold tower.

        Args:
            model: with a cold tower.
            items: name -> (R, ...) of the rows 0 .. R - 1 of the warm items.
            first_known: of the item nums.
            held_out: (H,) item nums.
        """
        assert model.cold_tower is not None
        self.model = model
        device = model.device
        model.cold_tower.fit({name: column[first_known:] for name, column in items.items()})
        nums = torch.arange(first_known, len(next(iter(items.values()))))
        self.nums = nums[~torch.isin(nums, held_out)].to(device)
        self.rows = torch.full((first_known + len(nums),), -1, device=device)
        self.rows[self.nums] = torch.arange(len(self.nums), device=device)
        learned = {name: column.to(device)[self.nums] for name, column in items.items()}
        self.content = model.cold_tower.content(learned)
        self.items = {name: learned[name] for name in model.cold_tower.names}
        self.sampler = UniformSampler(torch.arange(len(self.nums)))

    def __call__(self, query_vectors: Tensor, batch: Batch, taken: Taken | None = None) -> Tensor:
        """The mean loss, a scalar.

        Args:
            query_vectors: (B, D), divided by the temperature.
            batch: B queries with their targets.
            taken: what the queries' users have; left out, their targets.
        """
        query_vectors = query_vectors.detach()
        rows = self.rows[batch.item_num]
        mask = batch.mask & (rows >= 0)
        rows = rows.clamp(min=0)
        if taken is not None:
            learned = self.rows[taken.item_num]
            taken = Taken(taken.rows[learned >= 0], learned[learned >= 0])
        if self.model.ranks_all_items:
            vectors = self._vectors(self.items, self.content)
            return losses.full_softmax(
                query_vectors, vectors, rows, mask, batch.weight, taken=taken
            )
        drawn, logq = (t.to(rows.device) for t in self.sampler.sample(self.num_negatives))
        needed = torch.unique(torch.cat([rows[mask], drawn]))
        chosen = {name: column[needed] for name, column in self.items.items()}
        vectors = self._vectors(chosen, self.content[needed])
        places = torch.searchsorted(needed, rows).clamp(max=len(needed) - 1)
        negatives = Candidates(vectors[torch.searchsorted(needed, drawn)], drawn, logq)
        positive_vectors = F.embedding(places, vectors)
        targets = (query_vectors, positive_vectors, rows, mask, batch.weight)
        return losses.sampled_softmax(*targets, negatives, taken=taken)

    def _vectors(self, items: Features, content: Tensor) -> Tensor:
        """(N, D), without the offset: it is the same for all."""
        return F.pad(self.model.cold_vectors(items, content)[:, :-1], (0, 1))

    @property
    def num_negatives(self) -> int:
        """Sampled items a step."""
        return self.model.config.num_negatives
