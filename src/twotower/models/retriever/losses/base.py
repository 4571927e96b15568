"""What a loss is to the objective, the batches and the towers: one object in a registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from twotower.config import RetrieverConfig, registries
from twotower.data.batches.batches import Batch
from twotower.data.batches.negatives import NegativeSampler
from twotower.models.positives.user_positives import UserPositives
from twotower.parallel.shards import Shards
from twotower.registry import Registry, registering


class EncodedItems:
    """The items that a step needs, each encoded once."""

    def __init__(self, nums: Tensor, states: Tensor, vectors: Tensor) -> None:
        """Keep M items.

        Args:
            nums: (M,) item nums, ascending.
            states: (M, D) what histories read of them.
            vectors: (M, D) what scores are made of.
        """
        self.nums = nums
        self.all_states = states
        self.all_vectors = vectors

    def rows(self, item_num: Tensor) -> Tensor:
        """Item nums (...) to rows 0 .. M - 1; any row for padding."""
        return torch.searchsorted(self.nums, item_num).clamp(max=len(self.nums) - 1)

    def states(self, item_num: Tensor) -> Tensor:
        """Item nums (...) to (..., D)."""
        return F.embedding(self.rows(item_num), self.all_states)

    def vectors(self, item_num: Tensor) -> Tensor:
        """Item nums (...) to (..., D)."""
        return F.embedding(self.rows(item_num), self.all_vectors)


class SampledItems(NamedTuple):
    """Items drawn from the negative sampler.

    Attributes:
        item_num: (M,) int64.
        logq: (M,) log of the expected count of each in the sample.
    """

    item_num: Tensor
    logq: Tensor


class EpochSize(NamedTuple):
    """How large a training part is, and how it is batched: what the cost of an epoch depends on.

    Attributes:
        rows: of the training part.
        queries: an epoch; each is contrasted with candidates once.
        steps: batches an epoch.
        by_user: whether a query has all rows of its user as targets, not a single one.
    """

    rows: int
    queries: int
    steps: int
    by_user: bool


class Spread(NamedTuple):
    """A step of several processes.

    Attributes:
        items: who has which items.
        total_weight: () of the targets of all processes.
    """

    items: Shards
    total_weight: Tensor


@dataclass(frozen=True)
class LossInputs:
    """What a step hands to its loss.

    >>> from twotower.data.batches.batches import PairBatches
    >>> from twotower.models.retriever.objective import RetrievalObjective
    >>> @tt.register_loss("shapes")
    ... class Shapes(tt.Loss):
    ...     def __call__(self, inputs):
    ...         print(inputs.query_vectors.shape, inputs.batch.item_num.shape, inputs.sampled)
    ...         return inputs.query_vectors.sum()
    >>> model = tt.TwoTower(tt.RetrieverConfig(loss="shapes", embedding_dim=8), data.schema)
    >>> device = model.device
    >>> objective = RetrievalObjective(model, train, batch_size=32, device=device)
    >>> loss = objective.loss(next(iter(PairBatches(train, batch_size=32, seed=0).epoch(0))))
    torch.Size([32, 8]) torch.Size([32, 1]) None

    Attributes:
        query_vectors: (B, D), divided by the temperature.
        batch: the targets of the B queries, their mask and weights, on the device.
        items: vectors of the batch's and the sampled items; of all warm items where
            `Loss.ranks_all_items`.
        sampled: `Loss.num_sampled` items, None if that is 0.
        positives: the known positives of each query's user, to be masked as negatives. None: the
            query's own targets are the ones to mask.
        in_batch_logq: (R,) log of the expected count of each item num among a pair's others in
            the batch.
        sampler: that `sampled` was drawn from.
        batch_items: (C,) item nums of the batch's targets, and if `Loss.contrasts_batch` those of
            other processes' batches.
        spread: how a loss that ranks all items is shared by several processes, each of which
            has encoded its own items alone; None for one process.
    """

    query_vectors: Tensor
    batch: Batch
    items: EncodedItems
    sampled: SampledItems | None
    positives: UserPositives | None
    in_batch_logq: Tensor
    sampler: NegativeSampler
    batch_items: Tensor
    spread: Spread | None = None

    def sampled_items(self) -> SampledItems:
        """The sampled items of a loss that always draws some."""
        assert self.sampled is not None
        return self.sampled


class Loss(ABC):
    """A training loss of the retriever, made for one model.

    A subclass computes the loss in `__call__` and says in the other members what it needs for that.
    `register_loss` gives it the name by which configs choose it (`retriever.loss`).

    >>> model.loss.batches, model.loss.ranks_all_items
    ('users', True)
    """

    batches: ClassVar[Literal["pairs", "users"]] = "pairs"
    """The default batches. `pairs`: a query has a single target, P = 1. `users`: a query may have
    any number of targets, so training takes each user with all of the user's items as one query,
    unless a context feature distinguishes the user's interactions."""
    shares_sample: ClassVar[bool] = True
    """Whether all queries of a step are contrasted with the same sampled items, those of several
    processes, too."""

    contrasts_batch: ClassVar[bool] = False
    """Whether the targets of a batch are each other's candidates, `LossInputs.batch_items`, those
    of several processes, too."""

    def __init__(
        self, config: RetrieverConfig, num_items: int, *, has_history: bool = False
    ) -> None:
        """Make the loss.

        Args:
            config: the settings of the retriever.
            num_items: known items, the padding and OOV rows not counted.
            has_history: whether the query tower reads one; numbers that are "auto" depend on it.
        """
        numbers = SIZES_WITH_HISTORY if has_history else SIZES
        unset = {name: size for name, size in numbers.items() if getattr(config, name) == "auto"}
        self.config = config.model_copy(update=unset)
        self.automatic = frozenset(unset)
        """Keys of the config that were "auto"."""
        self.num_items = num_items
        self.size: EpochSize | None = None
        """Of the training part; None before training."""

    @property
    def num_negatives(self) -> int:
        """`retriever.num_negatives`, or what "auto" amounts to."""
        assert self.config.num_negatives != "auto"
        return self.config.num_negatives

    @property
    def max_full_softmax(self) -> int:
        """`retriever.max_full_softmax`, or what "auto" amounts to."""
        assert self.config.max_full_softmax != "auto"
        return self.config.max_full_softmax

    @property
    def sentence(self) -> str:
        """What is learned from, in some words for the user."""
        return f"loss {self.config.loss}"

    @property
    def ranks_all_items(self) -> bool:
        """Whether a step scores all warm items. They are all encoded then, and their id table gets
        dense gradients."""
        return False

    def num_sampled(self, batch: Batch) -> int:
        """Items to draw from the negative sampler for a batch, shared by its queries. 0: none."""
        del batch
        return 0

    def warnings(self, batch_size: int, num_warm_items: int) -> tuple[str, ...]:
        """What a user should know about this loss with batches of a size on a training part."""
        del batch_size, num_warm_items
        return ()

    @abstractmethod
    def __call__(self, inputs: LossInputs) -> Tensor:
        """The mean loss over a batch's targets, a scalar."""


SIZES: Final = {"max_full_softmax": 100_000, "num_negatives": 4096}
SIZES_WITH_HISTORY: Final = {"max_full_softmax": 10_000, "num_negatives": 1024}
"""What is "auto". With a history each event is a query of its own, and the softmax over all items
costs most of the time (docs/experiments.md, "Histories")."""

LOSSES: Registry[type[Loss]] = registries.LOSSES
"""Losses by the name that `retriever.loss` chooses them by."""


def register_loss(name: str) -> Callable[[type[Loss]], type[Loss]]:
    """A class decorator that lets configs choose a `Loss` by a name.

    >>> @tt.register_loss("margin")
    ... class Margin(tt.Loss):
    ...     def num_sampled(self, batch):
    ...         return self.num_negatives
    ...
    ...     def __call__(self, inputs):
    ...         targets = inputs.items.vectors(inputs.batch.item_num[:, 0])
    ...         negatives = inputs.items.vectors(inputs.sampled_items().item_num)
    ...         positive = (inputs.query_vectors * targets).sum(dim=1, keepdim=True)
    ...         return (1 - positive + inputs.query_vectors @ negatives.T).relu().mean()
    >>> config = tt.RetrieverConfig(loss="margin", num_negatives=16, embedding_dim=8)
    >>> model = tt.fit(tt.TwoTower(config, data.schema), train, validation, epochs=1)

    Args:
        name: may not be that of another module's loss.
    """
    return registering(LOSSES, name)


def make_loss(config: RetrieverConfig, num_items: int, *, has_history: bool = False) -> Loss:
    """The loss that a config names; see `Loss.__init__`.

    Raises:
        ConfigError: there is no loss of that name.
    """
    return LOSSES[config.loss](config, num_items, has_history=has_history)
