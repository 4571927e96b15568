"""The tower of items whose id training never saw: it represents them by their content.

Embedding tables of words and names that are learned with the towers identify the training items one
by one: a rare word is as good as an id. A new item shares few of those words. So this tower reads
terms along the main directions of the training items' content (latent semantic analysis, Deerwester
et al. 1990: a truncated singular value decomposition of TF-IDF weights, found by the randomised
method of Halko et al. 2011). The directions are found once; only the layers after them are
learned.

Shapes: R items, V terms of all features, K directions, D embedding_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from twotower.config import RetrieverConfig
from twotower.config.feature_type import Feature
from twotower.data.dataset.entities import Column, Features
from twotower.data.features.vocabulary import PADDING
from twotower.models.layers.embedding_bag import Terms, sums_of_rows
from twotower.models.layers.encoders import make_encoder
from twotower.models.layers.mlp import make_mlp

NUM_DIRECTIONS = 300
"""K. Directions beyond the rank of the training items' content are 0."""
SPARE_DIRECTIONS = 10
"""Extra directions that are found and dropped again, which makes the last ones more exact."""
POWER_STEPS = 4
"""Of the randomised decomposition."""
MAX_FITTED = 100_000
"""The directions of a larger catalogue are those of so many of its items, evenly spaced."""

Product = Callable[[Tensor], Tensor]
"""A matrix that is only known by what it makes of others: (., M) to (., M)."""


class ColdTower(nn.Module):
    """Features of items, without the id, to vectors (R, D): MLP(content, other encodings).

    Words, categories and bins of numbers are terms. Each feature's are weighted by TF-IDF, to
    length 1, and all are added up along the K directions. Times, pictures, vectors and numbers
    without bins have learned encoders.
    """

    weights: Tensor
    directions: Tensor

    def __init__(
        self,
        features: Mapping[str, Feature],
        config: RetrieverConfig,
        *,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        bags = {name: feature for name, feature in features.items() if feature.num_terms}
        self.bag_names = tuple(bags)
        self.bags = tuple(bags.values())
        self.sizes = [feature.num_terms for feature in self.bags]
        self.names = tuple(name for name in features if name not in bags)
        encoders = [
            make_encoder(features[name], config.embedding_dim, generator=generator)
            for name in self.names
        ]
        self.encoders = nn.ModuleList(encoders)
        self.register_buffer("weights", torch.zeros(sum(self.sizes)))
        self.register_buffer("directions", torch.zeros(sum(self.sizes), NUM_DIRECTIONS))
        width = NUM_DIRECTIONS + sum(encoder.width for encoder in encoders)
        self.mlp = make_mlp(width, (4 * config.embedding_dim,), config, generator)

    def forward(self, features: Features, content: Tensor | None = None) -> Tensor:
        """(R, D). `content` (R, K), where it is known already, need not be worked out again."""
        parts = [self.content(features) if content is None else content]
        for name, encoder in zip(self.names, self.encoders, strict=True):
            parts.append(encoder(features[name]))
        vectors: Tensor = self.mlp(torch.cat(parts, dim=-1))
        return vectors

    @torch.no_grad()
    def content(self, features: Features) -> Tensor:
        """(R, K) what items are made of, along the directions."""
        rows = len(next(iter(features.values())))
        return sum_of_bags(self.directions, self.terms(features), rows)

    @torch.no_grad()
    def fit(self, features: Features) -> None:
        """Find the weights of terms and the directions, from the training items' features (R, ...);
        the content of these has a mean square of 1 in each coordinate."""
        rows = len(next(iter(features.values())))
        if rows > MAX_FITTED:
            chosen = torch.arange(MAX_FITTED, device=self.weights.device) * rows // MAX_FITTED
            features = {name: column[chosen] for name, column in features.items()}
            rows = MAX_FITTED
        if not rows or not self.bags:
            return
        self.weights.copy_(torch.cat([inverse_frequency(*bag) for bag in self._nums(features)]))
        terms = self.terms(features)

        def content(table: Tensor) -> Tensor:
            return sum_of_bags(table, terms, rows)

        def transposed(table: Tensor) -> Tensor:
            return torch.cat([sums_of_rows(table, *t.by_num) for t in terms])

        found = main_directions(content, transposed, len(self.weights), self.weights.device)
        lengths = content(found).square().sum(dim=1).mean().sqrt()
        found *= NUM_DIRECTIONS**0.5 / lengths.clamp(min=torch.finfo(found.dtype).tiny)
        self.directions.zero_()
        self.directions[:, : found.shape[1]] = found

    def _nums(self, features: Features) -> list[tuple[Column, int]]:
        """The nums of each bag's terms, and how many different ones."""
        return [
            (bag.terms(features[name]), size)
            for name, bag, size in zip(self.bag_names, self.bags, self.sizes, strict=True)
        ]

    def terms(self, features: Features) -> list[Terms]:
        """The weighted terms of items (R, ...), feature by feature, each row's of length 1."""
        weights = torch.split(self.weights, self.sizes)
        return [
            Terms.of(nums, weight)
            for (nums, _), weight in zip(self._nums(features), weights, strict=True)
        ]


def sum_of_bags(table: Tensor, terms: Sequence[Terms], rows: int) -> Tensor:
    """(R, M) the weighted terms of all features of R = `rows` items, times a table (V, M)."""
    total = table.new_zeros(rows, table.shape[1])
    parts = torch.split(table, [each.num_terms for each in terms])
    for part, each in zip(parts, terms, strict=True):
        total += sums_of_rows(part, each.nums, each.starts, each.weights)
    return total


def inverse_frequency(nums: Column, num_terms: int) -> Tensor:
    """(num_terms,) log((1 + R) / (1 + items with it)) + 1, and 0 for padding and for terms that no
    item has. Each item has a term once in its list or row (R, M)."""
    held = nums.flatten() if isinstance(nums, Tensor) else nums.values
    count = torch.bincount(held, minlength=num_terms).float()
    weights = torch.log((1 + len(nums)) / (1 + count)) + 1
    weights[count == 0] = 0
    weights[PADDING] = 0
    return weights


def main_directions(
    product: Product, transposed: Product, num_terms: int, device: torch.device
) -> Tensor:
    """The main right singular vectors (V, K or the rank) of a matrix (R, V); the largest component
    of each is positive.

    Args:
        product: (V, M) to (R, M).
        transposed: (R, M) to (V, M).
        num_terms: V.
        device: of the result.
    """
    generator = torch.Generator().manual_seed(0)
    width = min(NUM_DIRECTIONS + SPARE_DIRECTIONS, num_terms)
    start = torch.randn(num_terms, width, generator=generator).to(device)
    basis = torch.linalg.qr(product(start)).Q
    for _ in range(POWER_STEPS):
        basis = torch.linalg.qr(product(torch.linalg.qr(transposed(basis)).Q)).Q
    found = torch.linalg.svd(transposed(basis), full_matrices=False)
    real = 1e-4 * found.S.max() < found.S
    directions: Tensor = found.U[:, real][:, :NUM_DIRECTIONS]
    # Which sign a decomposition finds depends on rounding.
    largest = directions.abs().argmax(dim=0, keepdim=True)
    return directions * directions.gather(0, largest).sign()
