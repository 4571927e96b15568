"""What models with a vector per user and a vector per item share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.arrays.top_k import MIN_ROWS, multiply
from twotower.models.baselines.base import Baseline, C


class Factors(Baseline[C]):
    """Scores user_vectors · item_vectors + item_bias + user_bias."""

    user_vectors: Tensor
    """(len(users), D), 0 for users without a training row."""
    item_vectors: Tensor
    """(N, D)."""
    item_bias: Tensor | None = None
    """(N,), or None without biases."""
    user_bias: Tensor | None = None
    """(len(users),), including the model's constant."""

    def _queries(self, user_num: NDArray[np.int64]) -> Tensor:
        """(B, D)."""
        return self.user_vectors[torch.from_numpy(user_num)]

    def _scores(self, user_num: NDArray[np.int64]) -> Tensor:
        queries = self._queries(user_num)
        buffer = torch.empty(max(MIN_ROWS, len(queries)), len(self.item_vectors))
        scores = multiply(queries, self.item_vectors, buffer)
        if self.item_bias is not None:
            scores += self.item_bias
        if self.user_bias is not None:
            scores += self.user_bias[torch.from_numpy(user_num)][:, None]
        return scores

    def _cold_scores(self, user_num: NDArray[np.int64]) -> Tensor:
        """The score of an item with a zero vector and the lowest bias."""
        scores = torch.zeros(len(user_num))
        if self.item_bias is not None and len(self.item_bias):
            scores += self.item_bias.min()
        if self.user_bias is not None:
            scores += self.user_bias[torch.from_numpy(user_num)]
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        named = {
            "user_vectors": self.user_vectors,
            "item_vectors": self.item_vectors,
            "item_bias": self.item_bias,
            "user_bias": self.user_bias,
        }
        return {name: tensor.numpy() for name, tensor in named.items() if tensor is not None}

    def _take(self, arrays: dict[str, NDArray[Any]]) -> None:
        for name, array in arrays.items():
            setattr(self, name, torch.from_numpy(array))

    def _draw(self, rng: np.random.Generator, rows: int, dim: int, deviation: float) -> Tensor:
        """(rows, dim) of N(0, deviation²)."""
        return torch.from_numpy(rng.standard_normal((rows, dim), dtype=np.float32)) * deviation
