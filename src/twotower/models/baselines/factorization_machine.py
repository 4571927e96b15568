"""A factorization machine over the features of both towers, as a pair of vectors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twotower.config import RetrieverConfig
from twotower.data.features.schema import Schema
from twotower.models.retriever.towers.base import TowerSpec
from twotower.models.retriever.towers.mlp import MlpTower
from twotower.models.retriever.two_tower import TwoTower

AS_A_MACHINE: dict[str, Any] = {
    "query_tower": "mlp",
    "item_tower": "mlp",
    "hidden": (),
    "normalize": False,
    "temperature": 1.0,
    "learn_temperature": False,
    "smoothing_layers": 0,
    "item_bias": True,
    "cold_tower": False,
    "negative_weight": 1.0,
}
"""The keys of `[retriever]` that make a linear two-tower score as a factorization machine. Scores
without bounds, a bias among them, need the plain softmax: above 1 the negative side pulls them down
for ever."""


class FactorizationMachine(TwoTower):
    """Ranks as a factorization machine of second order (Rendle 2010, equation 1) over all features.

    Its score of user u and item i is

        w_0 + sum_f w_f + sum_{f < g} v_f · v_g,

    f and g running over the features of both, each with its value in w_f and v_f. Where items are
    ranked for one user, w_0 and the terms of the user's features alone are constant. What is left,

        (sum_{f of u} v_f) · (sum_{g of i} v_g) + (sum_{g of i} w_g + sum_{g < h of i} v_g · v_h),

    is a linear two-tower whose item bias holds the item's own terms: the same ranking, by vectors
    that an index can hold. A feature is a field: its vector is a linear map of its encoding, and
    pairs within one feature (two genres of a film) are ignored.
    """

    def __init__(self, config: RetrieverConfig, schema: Schema, *, seed: int = 0) -> None:
        """Build both towers; the keys of `AS_A_MACHINE` override the config."""
        super().__init__(config.model_copy(update=AS_A_MACHINE), schema, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            self.item_tower = PairwiseTower(
                TowerSpec(schema.features["item"], self.config, generator)
            )
        self.has_bias = self.item_bias = True
        self._choose_gradients()


class PairwiseTower(MlpTower):
    """The item's side: its last coordinate is the item's bias, made of its weights and pairs."""

    def combine(self, encoded: list[Tensor], history: Tensor | None) -> Tensor:
        """(R, D) of R items; items have no history."""
        del history
        parts = self.vectors_by_feature(encoded)
        together = parts.sum(dim=1)
        vectors, weight = together[:, :-1], together[:, -1:]
        squares = parts[..., :-1].square().sum(dim=(1, 2))
        pairs = (vectors.square().sum(dim=1) - squares) / 2
        return torch.cat([vectors, weight + pairs[:, None]], dim=1)

    def vectors_by_feature(self, encoded: list[Tensor]) -> Tensor:
        """(R, F, D) of each of F features: v_f in the first D - 1 coordinates, then w_f."""
        if self.mlp is None:
            return torch.stack(encoded, dim=1)
        layer = self.mlp[-1]
        assert isinstance(layer, nn.Linear)
        maps = torch.split(layer.weight, [part.shape[1] for part in encoded], dim=1)
        parts = [F.linear(part, own) for part, own in zip(encoded, maps, strict=True)]
        if self.has_id:
            parts[0] = parts[0] + encoded[0]
        return torch.stack(parts, dim=1)
