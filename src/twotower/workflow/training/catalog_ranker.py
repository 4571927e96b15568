"""The neural ranker without a retriever: every item of the catalogue is scored for each request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM, POPULAR, Ranked
from twotower.data.arrays.top_k import hide, top_k
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.entities import EntityTable, Features, taken
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.histories import Histories
from twotower.errors import DataError, explain
from twotower.models.baselines.popularity_ranker import PopularityRanker
from twotower.models.ranker.ncf import NeuralCF
from twotower.models.ranker.ncf_objective import RankingObjective
from twotower.serving.answer.user_paths import UserPaths
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.serving.bundle.queries import Queries
from twotower.serving.bundle.served_model import indexable
from twotower.training.engine import Engine, on_cpu
from twotower.training.monitor import Monitor
from twotower.training.trainer import TrainResult, Validate
from twotower.training.trainer import train as run_training
from twotower.workflow.evaluate import evaluate
from twotower.workflow.training.fit_ranker import ranker_batches, training_config
from twotower.workflow.training.validation import fingerprint, sample_users

MAX_ITEMS = 20_000
"""The largest catalogue that is scored item by item; for a larger one a validation would take many
minutes."""
VALIDATION_USERS = 1_000
"""Number of users in the validation for early stopping."""
BLOCK_SCORES = 1 << 21
"""Number of scores in memory at a time."""


class Scorer(Protocol):
    """A model that scores candidates of queries."""

    def logits(self, queries: Queries, item_nums: NDArray[np.int64]) -> NDArray[np.float32]:
        """(Q, K) for Q queries and their candidates (Q, K)."""
        ...


@dataclass
class FullCatalogRanker:
    """A `Ranker` (see `workflow.evaluate`) that scores all items for each request.

    Attributes:
        scorer: the model, with its items encoded.
        users, items, item_counts: as in `Ranker`.
        histories: (len(users),) the events of each user.
        paths: decides the path of each user.
        item_nums: (N,) the items that the model can score, ascending.
        popularity: answers users on the path `popular`.
    """

    scorer: Scorer
    users: EntityTable
    items: EntityTable
    item_counts: NDArray[np.int64]
    histories: Histories
    paths: UserPaths
    item_nums: NDArray[np.int64]
    popularity: PopularityRanker

    @staticmethod
    def build(model: NeuralCF, train: Interactions, histories: Histories) -> FullCatalogRanker:
        """A ranker by a `NeuralCF`; encodes all items."""
        return FullCatalogRanker.of(NeuralRanker.build(model, train.items), train, histories)

    @staticmethod
    def of(scorer: Scorer, train: Interactions, histories: Histories) -> FullCatalogRanker:
        """A ranker by any scorer."""
        return FullCatalogRanker(
            scorer,
            train.users,
            train.items,
            train.item_counts(),
            histories,
            UserPaths(train.users, histories.items),
            np.flatnonzero(indexable(train.items)).astype(np.int64),
            PopularityRanker.fit(train, seen=histories.items),
        )

    @property
    def seen(self) -> Ragged:
        """The items of each user."""
        return self.histories.items

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
        """The k best items for each of Q users; see `Recommender.top_k`."""
        unwanted = self.seen.take(user_num) if mask_seen else Ragged.empty(len(user_num))
        unwanted = unwanted if excluded is None else unwanted.merge(excluded)
        reads_context = context is not None and bool(self.users.schema.features["context"])
        path = self.paths.answer_path(user_num, has_features=reads_context)
        answer = self.popularity.top_k(
            user_num, k, mask_seen=False, excluded=unwanted, allowed=allowed
        )._replace(path=path)
        asked = np.flatnonzero(path != POPULAR)
        chosen = self.item_nums if allowed is None else self.item_nums[allowed[self.item_nums]]
        for rows in np.array_split(asked, -(-len(asked) * len(chosen) // BLOCK_SCORES) or 1):
            if len(rows):
                nums, scores = self._best(user_num[rows], k, context, rows, unwanted, chosen)
                answer.item_nums[rows], answer.scores[rows] = nums, scores
        return answer

    def _best(
        self,
        user_num: NDArray[np.integer],
        k: int,
        context: Features | None,
        rows: NDArray[np.int64],
        unwanted: Ragged,
        chosen: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """(B, k) item nums and scores for users (B,); `rows` are their places in `context` and
        `unwanted`."""
        nums = np.full((len(rows), k), NO_ITEM, dtype=np.int64)
        scores = np.full((len(rows), k), -np.inf, dtype=np.float32)
        if not len(chosen):
            return nums, scores
        told = taken(context or {}, rows)
        every = np.broadcast_to(chosen, (len(rows), len(chosen)))
        queries = Queries.of(self.users, user_num, self.histories, user_num, told)
        found = torch.from_numpy(self.scorer.logits(queries, every))
        hide(found, unwanted.take(rows), chosen)
        best, columns = (part.numpy() for part in top_k(found, min(k, len(chosen))))
        width = best.shape[1]
        nums[:, :width] = np.where(np.isfinite(best), chosen[columns], NO_ITEM)
        scores[:, :width] = best
        return nums, scores


def fit_full_catalog(dataset: Dataset, *, monitor: Monitor) -> tuple[NeuralCF, TrainResult]:
    """Train the ranker of a config without a retriever: uniform negatives, early stopping by
    ndcg@k over the whole catalogue.

    Raises:
        DataError: the catalogue is too large.
    """
    check_size(dataset)
    config, train = dataset.config, dataset.train
    assert config.ranker is not None
    model = NeuralCF(config.ranker, dataset.schema, seed=config.training.seed)
    settings = training_config(config.ranker, config.training)
    engine = Engine.from_config(settings)
    result = run_training(
        RankingObjective(model, train, device=engine.device, pool=None),
        ranker_batches(train, config.ranker, settings.seed),
        settings,
        engine=engine,
        validate=validation_callback(
            lambda: NeuralRanker.build(on_cpu(model), train.items), dataset
        ),
        fingerprint=fingerprint(config, train),
        monitor=monitor,
    )
    return model.cpu(), result


def check_size(dataset: Dataset) -> None:
    """Refuse a catalogue that is too large to be scored item by item.

    Raises:
        DataError: it is too large.
    """
    catalogue = len(dataset.items) - dataset.items.first_known
    if catalogue > MAX_ITEMS:
        raise DataError(
            explain(
                f"scoring each of {catalogue:,} items for each request takes too long; the limit "
                f"is {MAX_ITEMS:,}",
                fix="compare the pipeline, which ranks what the towers retrieve",
            )
        )


def validation_callback(scorer: Callable[[], Scorer], dataset: Dataset) -> Validate:
    """A callback that evaluates the model in training over the whole catalogue. `scorer` returns
    the current model."""
    config = dataset.config
    k, mask_seen = config.evaluation.k, config.evaluation.mask_seen
    part = sample_users(dataset.validation, VALIDATION_USERS, config.training.seed)
    histories = dataset.train.histories()

    def validate() -> dict[str, float]:
        ranker = FullCatalogRanker.of(scorer(), dataset.train, histories)
        return {f"ndcg@{k}": evaluate(ranker, part, k=k, mask_seen=mask_seen).metrics[f"ndcg@{k}"]}

    return validate
