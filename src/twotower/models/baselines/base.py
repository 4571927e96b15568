"""What all baselines share: answer paths, the top-k, saving and loading."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.baselines import BaselineConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import HISTORY, KNOWN, NO_ITEM, POPULAR, Ranked
from twotower.data.arrays.top_k import hide, top_k
from twotower.data.dataset.entities import EntityTable, Features
from twotower.data.dataset.interactions import Interactions
from twotower.models.baselines.matrix import Matrix, interaction_matrix, with_seen
from twotower.models.baselines.popularity_ranker import PopularityRanker
from twotower.models.baselines.storage import (
    Arrays,
    lists_from_arrays,
    lists_to_arrays,
    matrix_from_arrays,
    matrix_to_arrays,
    read_baseline,
    write_baseline,
)

SCORES_PER_BLOCK = 1 << 25
"""Scores in memory at once, 128 MB."""

C = TypeVar("C", bound=BaselineConfig)
Progress = Callable[[int, int], None]
"""Called with the number of finished steps and of all steps."""
Validate = Callable[[Any], float]
"""Scores a baseline; higher is better."""


class Baseline(ABC, Generic[C]):
    """A model of user and item ids alone; implements the `Ranker` protocol.

    Users with a training row are answered by the model (path `known`). So are other users with
    `seen` items, if the model can read them (path `history`). All others get the most popular items
    (path `popular`). Items without a training row score 0, or, where the model has biases, as much
    as the item with the lowest bias. Ties are broken by the lower item num.

    Attributes:
        name: in the registry `BASELINES`.
        reads_histories: whether it can answer users without training rows.
        needs_times: whether it can only be fitted on interactions with times.
        needs_matrix: whether it reads the interactions as a matrix, which then has to be built.
        users, items: the tables that `user_num` and `item_num` index.
        item_counts: (len(items),) training rows of each item.
        seen: (len(users),) items that each user has seen.
        best_epoch: the epoch that was kept; 0 for a model without epochs.
        interrupted: whether Ctrl-C ended the fit early; the best epoch until then was kept.
    """

    name: ClassVar[str]
    config_type: ClassVar[type[BaselineConfig]]
    reads_histories: ClassVar[bool] = False
    needs_times: ClassVar[bool] = False
    needs_matrix: ClassVar[bool] = True

    def __init__(
        self,
        config: C,
        users: EntityTable,
        items: EntityTable,
        *,
        item_counts: NDArray[np.int64],
        seen: Ragged,
        paths: NDArray[np.int8],
    ) -> None:
        """For `fit` and `load` only."""
        self.config = config
        self.users = users
        self.items = items
        self.item_counts = item_counts
        self.seen = seen
        self.paths = paths
        self.histories: Matrix | None = None
        self.fallback = PopularityRanker(users, items, item_counts, seen)
        self.best_epoch = 0
        self.interrupted = False

    # --- fitting ---

    @classmethod
    def fit(
        cls,
        train: Interactions,
        config: C | None = None,
        *,
        rng: np.random.Generator | None = None,
        seen: Ragged | None = None,
        validate: Validate | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Learn from a training part.

        Args:
            train: the rows; every item is in the catalogue.
            config: default: `config_type()`.
            rng: draws initial values, order and negatives; equal states give equal models. Default:
                seeded with 0.
            seen: (len(users),) items that each user has seen at the time of a request: masked, and
                read as the history. Default: the training rows.
            validate: scores the model, higher is better; models with epochs keep the best epoch.
            progress: called after each epoch or similar step.

        Raises:
            DataError: the rows lack a column that the model needs, or it does not fit into memory.
        """
        chosen: Any = cls.config_type() if config is None else config
        seen = train.by_user() if seen is None else seen
        known = np.bincount(train.user_num, minlength=len(train.users)) > 0
        model = cls(
            chosen,
            train.users,
            train.items,
            item_counts=train.item_counts(),
            seen=seen,
            paths=np.where(known, KNOWN, POPULAR).astype(np.int8),
        )
        rows = train if cls.needs_matrix else train.take(np.zeros(0, dtype=np.int64))
        matrix = interaction_matrix(rows, chosen.weights)
        model._read(matrix)
        rng = np.random.default_rng(0) if rng is None else rng
        model._learn(train, matrix, rng, validate, progress)
        return model

    def knowing(self, train: Interactions, seen: Ragged) -> Self:
        """The same model with more items that its users have seen.

        Args:
            train: the rows that it was fitted on.
            seen: (len(users),) items that each user has seen by now: masked, and read as history.
        """
        model = copy.copy(self)
        model.seen = seen
        model.fallback = PopularityRanker(
            self.users, self.items, self.item_counts, seen, weights=self.fallback.weights
        )
        model.paths = np.where(self.paths == KNOWN, KNOWN, POPULAR).astype(np.int8)
        if self.reads_histories:
            model._read(interaction_matrix(train, self.config.weights))
        return model

    def _read(self, matrix: Matrix) -> None:
        """Build the histories from the seen items, if the model reads any."""
        if self.reads_histories:
            self.histories = with_seen(matrix, self.seen, self.items)
            has_history = np.diff(self.histories.indptr) > 0
            self.paths[(self.paths != KNOWN) & has_history] = HISTORY

    @abstractmethod
    def _learn(
        self,
        train: Interactions,
        matrix: Matrix,
        rng: np.random.Generator,
        validate: Validate | None,
        progress: Progress | None,
    ) -> None:
        """Fill the model's own arrays.

        Args:
            train: the rows.
            matrix: the same as a matrix, weighted according to the config.
            rng, validate, progress: as in `fit`.
        """

    # --- answering ---

    @abstractmethod
    def _scores(self, user_num: NDArray[np.int64]) -> Tensor:
        """(B, N) float32 scores of the trained items, for users whose path is not `popular`."""

    def _cold_scores(self, user_num: NDArray[np.int64]) -> Tensor:
        """(B,) float32 scores of any item without a training row."""
        return torch.zeros(len(user_num))

    def path_of(self, user_num: NDArray[np.integer]) -> NDArray[np.int8]:
        """(Q,) the answer path of each user, as positions in `PATHS`."""
        known = (user_num >= 0) & (user_num < len(self.paths))
        return np.where(known, self.paths[np.where(known, user_num, 0)], POPULAR).astype(np.int8)

    def score(
        self, user_num: NDArray[np.integer], item_num: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """The scores of K items for each of Q users; -inf for an item outside the catalogue.

        Args:
            user_num: (Q,).
            item_num: (Q, K).

        Returns:
            (Q, K) float32.
        """
        there = (item_num >= self.items.first_known) & (item_num < len(self.items))
        nums = np.where(there, item_num, 0).astype(np.int64)
        scores = self.fallback.weights[nums].astype(np.float32)
        path = self.path_of(user_num)
        for rows in self._blocks(np.flatnonzero(path != POPULAR)):
            columns = torch.from_numpy(nums[rows] - self.items.first_known).clamp(min=0)
            found = self._catalogue_scores(user_num[rows].astype(np.int64)).gather(1, columns)
            scores[rows] = found.numpy()
        return np.where(there, scores, np.float32(-np.inf))

    def top_k(
        self,
        user_num: NDArray[np.integer],
        k: int,
        *,
        context: Features | None = None,
        mask_seen: bool = True,
        excluded: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Ranked:
        """The k best items for each of Q users; see `Ranker`. The context is ignored."""
        del context
        if k < 1:
            raise ValueError(f"The 'k' parameter must be at least 1. Got {k} instead.")
        unwanted = self.seen.take(user_num) if mask_seen else Ragged.empty(len(user_num))
        if excluded is not None:
            unwanted = unwanted.merge(excluded)
        path = self.path_of(user_num)
        nums = np.full((len(user_num), k), NO_ITEM, dtype=np.int64)
        scores = np.full((len(user_num), k), -np.inf, dtype=np.float32)
        for rows in self._blocks(np.flatnonzero(path != POPULAR)):
            best, found = self._best(user_num[rows], k, unwanted.take(rows), allowed)
            scores[rows, : best.shape[1]], nums[rows, : found.shape[1]] = best, found
        rest = np.flatnonzero(path == POPULAR)
        if len(rest):
            nums[rest], scores[rest], _ = self.fallback.top_k(
                user_num[rest], k, mask_seen=False, excluded=unwanted.take(rest), allowed=allowed
            )
        return Ranked(nums, scores, path)

    def _best(
        self,
        user_num: NDArray[np.integer],
        k: int,
        unwanted: Ragged,
        allowed: NDArray[np.bool_] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and item nums (B, at most k) of one block."""
        catalogue = np.arange(self.items.first_known, len(self.items))
        scores = self._catalogue_scores(user_num.astype(np.int64))
        if allowed is not None:
            scores[:, torch.from_numpy(~allowed[catalogue])] = -torch.inf
        hide(scores, unwanted, catalogue)
        values, places = (part.numpy() for part in top_k(scores, min(k, len(catalogue))))
        return values, np.where(np.isneginf(values), NO_ITEM, catalogue[places])

    def _catalogue_scores(self, user_num: NDArray[np.int64]) -> Tensor:
        """(B, N + number of cold items) scores of all items from `first_known` on."""
        warm = self._scores(user_num)
        num_cold = len(self.items) - self.items.end_warm
        if not num_cold:
            return warm
        return torch.cat([warm, self._cold_scores(user_num)[:, None].expand(-1, num_cold)], dim=1)

    def _blocks(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """The rows in blocks of at most `SCORES_PER_BLOCK` scores."""
        size = max(1, SCORES_PER_BLOCK // max(1, len(self.items)))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    # --- files ---

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The learned parameters, by name."""

    @abstractmethod
    def _take(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Set the parameters that `arrays` returned."""

    @property
    def num_parameters(self) -> int:
        """Number of learned parameters."""
        return sum(array.size for array in self.arrays().values())

    def save(self, folder: Path) -> None:
        """Write `baseline.json` and `baseline.safetensors` into a folder, which is created."""
        arrays: Arrays = {
            "item_counts": self.item_counts,
            "paths": self.paths,
            **lists_to_arrays("seen", self.seen),
            **{f"model.{name}": array for name, array in self.arrays().items()},
        }
        if self.histories is not None:
            arrays |= matrix_to_arrays("histories", self.histories)
        description = {
            "name": self.name,
            "config": self.config.model_dump(mode="json"),
            "best_epoch": self.best_epoch,
            "interrupted": self.interrupted,
        }
        write_baseline(folder, description, arrays, self.users, self.items)

    @classmethod
    def load(cls, folder: Path, users: EntityTable, items: EntityTable) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: the files are missing or damaged, belong to another baseline, or were
                fitted on other users or items.
        """
        description, arrays = read_baseline(folder, cls.name, users, items)
        config: Any = cls.config_type.model_validate(description["config"])
        counts = arrays["item_counts"]
        model = cls(
            config,
            users,
            items,
            item_counts=np.pad(counts, (0, len(items) - len(counts))),
            seen=lists_from_arrays("seen", arrays),
            paths=arrays["paths"],
        )
        if cls.reads_histories:
            model.histories = matrix_from_arrays("histories", arrays, items.num_warm)
        model.best_epoch, model.interrupted = description["best_epoch"], description["interrupted"]
        prefix = "model."
        model._take({n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)})
        return model
