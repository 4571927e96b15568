"""The two branches of neural collaborative filtering (He et al. 2017), on states of both sides.

What a branch needs of a user and what it needs of an item can be computed apart: the GMF branch
multiplies two vectors, and the first layer of the MLP over both embeddings, concatenated, is the
sum of a layer over each of them. So each side is encoded once into its `state`, and a pair costs a
product, a sum and the layers behind the first one.

Shapes: Q queries, C candidates a query, G gmf_dim, H hidden[0], S = G + H the width of a state.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from twotower.models.kernels.dropout import Dropout
from twotower.models.layers.mlp import ACTIVATIONS, linear

NormName = Literal["none", "batch", "layer"]


class SideParts(NamedTuple):
    """What each branch reads of a side.

    Attributes:
        gmf: (..., G).
        first: (..., H) what the side adds to the first layer of the MLP.
    """

    gmf: Tensor
    first: Tensor


class Branches(nn.Module):
    """States of queries and candidates to logits.

    logit = h . [query_gmf * item_gmf, MLP(query_first + item_first + bias)] + b

    Without GMF coordinates, or without hidden layers, the other branch stands alone.
    """

    def __init__(
        self,
        gmf_dim: int,
        hidden: tuple[int, ...],
        *,
        activation: str = "relu",
        dropout: float = 0.0,
        norm: NormName = "none",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.gmf_dim = gmf_dim
        self.first_bias = nn.Parameter(torch.zeros(hidden[0] if hidden else 0))
        layers: list[nn.Module] = []
        for place, width in enumerate(hidden):
            if place:
                layers.append(linear(hidden[place - 1], width, generator))
            if norm != "none":
                layers.append(nn.BatchNorm1d(width) if norm == "batch" else nn.LayerNorm(width))
            layers.append(ACTIVATIONS[activation]())
            if dropout:
                layers.append(Dropout(dropout))
        self.layers = nn.Sequential(*layers)
        self.output = linear(gmf_dim + (hidden[-1] if hidden else 0), 1, generator)

    @property
    def state_dim(self) -> int:
        """S."""
        return self.gmf_dim + len(self.first_bias)

    def forward(self, query_states: Tensor, item_states: Tensor) -> Tensor:
        """Each query with its own candidates.

        Args:
            query_states: (Q, S).
            item_states: (Q, C, S).

        Returns:
            (Q, C) logits.
        """
        width = self.gmf_dim
        return self.of_parts(
            SideParts(query_states[:, :width], query_states[:, width:]),
            SideParts(item_states[..., :width], item_states[..., width:]),
        )

    def of_parts(self, queries: SideParts, items: SideParts) -> Tensor:
        """The same of (Q, ...) and (Q, C, ...)."""
        number, candidates = items.first.shape[:2]
        width, weight = self.gmf_dim, self.output.weight[0]
        logits = self.output.bias.expand(number, candidates)
        if width:
            weighted = (queries.gmf * weight[:width]).to(items.gmf.dtype)
            logits = logits + dots(weighted, items.gmf)
        if len(self.first_bias):
            first = items.first + (queries.first + self.first_bias)[:, None].to(items.first.dtype)
            deep = self.layers(first.flatten(0, 1))
            logits = logits + (deep @ weight[width:]).view(number, candidates)
        return logits


def dots(queries: Tensor, items: Tensor) -> Tensor:
    """The inner products (Q, C) of (Q, G) and (Q, C, G), by what is faster on the device: a GPU is
    slow at many small matrix products."""
    if queries.device.type == "cpu":
        return torch.bmm(items, queries[:, :, None])[:, :, 0]
    return (items * queries[:, None]).sum(dim=-1, dtype=torch.float32)
