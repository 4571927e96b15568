"""The tower of hidden layers, in its smallest form plain matrix factorization."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twotower.models.layers.mlp import make_mlp
from twotower.models.retriever.towers.base import INITIAL_SCALE, Tower, TowerSpec, register_tower


@register_tower("mlp")
class MlpTower(Tower):
    """vector = id embedding + history vector + MLP(all encodings, concatenated).

    The embedding of the id and the vector of the history reach the output directly (residual
    connections), so that a deeper tower starts from matrix factorization and from the mean of a
    user's items, instead of having to find them. Without other features and hidden layers there is
    no MLP: a tower of an id alone is then matrix factorization.
    """

    def __init__(self, spec: TowerSpec) -> None:
        super().__init__(spec)
        self.bias_by_id = spec.bias_by_id
        hidden = spec.config.hidden
        if hidden == "auto":
            hidden = () if spec.has_id_alone else (2 * spec.config.embedding_dim,)
        has_mlp = bool(hidden) or not spec.has_id_alone
        self.mlp = make_mlp(self.width, hidden, spec.config, spec.generator) if has_mlp else None
        if self.mlp is not None and (self.has_id or self.history is not None):
            # At first the residual connection is almost all there is; the layers add what it lacks.
            last = self.mlp[-1]
            assert isinstance(last, nn.Linear)
            with torch.no_grad():
                last.weight.mul_(INITIAL_SCALE)

    def combine(self, encoded: list[Tensor], history: Tensor | None) -> Tensor:
        """See `Tower`."""
        from_history = [] if history is None else [history]
        parts = [*encoded[: int(self.has_id)], *from_history]
        if self.mlp is not None:
            learned = self.mlp(torch.cat([*encoded, *from_history], dim=-1))
            if self.bias_by_id:
                # What features add to an item's bias, they would add to items that training never
                # ranked, too.
                learned = F.pad(learned[..., :-1], (0, 1))
            parts.append(learned)
        vector: Tensor = parts[0]
        for part in parts[1:]:
            vector = vector + part
        return vector
