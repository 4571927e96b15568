"""Train a ranker over a retriever: hard negatives from the retriever, validation of the whole
pipeline, blend and calibration on validation rows.

The calibrated score is the probability that a candidate retrieved for a user is among the user's
positives in a part like the validation part. Blend and calibration are fitted on the candidates of
the validation users, on rows that neither stage was trained on. Items that training never saw are
not candidates there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twotower.config import Config, RankerConfig, TrainingConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM, POPULAR
from twotower.data.batches.batches import PairBatches, SequenceBatches, UserBatches
from twotower.data.dataset.interactions import Interactions
from twotower.errors import DataError
from twotower.index import SearchResult
from twotower.models.blend import Blend
from twotower.models.layers.missing_values import columns_of_training, impute_missing
from twotower.models.ranker.calibration import Calibration
from twotower.models.ranker.item_item_weights import ItemItemWeights
from twotower.models.ranker.ncf import NeuralCF
from twotower.models.ranker.ncf_objective import RankingObjective
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.candidate_blend import CandidateBlend
from twotower.serving.bundle.ncf_stage import ALONE, NeuralRanker
from twotower.serving.bundle.queries import Floats, Queries
from twotower.training.engine import Engine, on_cpu
from twotower.training.monitor import Monitor
from twotower.training.trainer import TrainResult, Validate
from twotower.training.trainer import train as run_training
from twotower.workflow.evaluate import evaluate, rows_of
from twotower.workflow.training.validation import VALIDATION_USERS, fingerprint, sample_users

TARGETS = 2048
"""The approximate number of targets in a batch."""
MAX_USERS = 256
MIN_QUERIES = 200
"""The number of queries with a relevant candidate below which weights are not chosen by ndcg@k."""
SHARES = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Weights to try, as multiples of the largest one, for scores of standard deviation 1."""
LEAST_GAIN = 1e-4
"""Of ndcg@k, for which a weight is changed."""
USERS_PER_CHUNK = 4096
"""Users whose hard negatives are retrieved at once."""


def fit_ranker(
    model: NeuralCF,
    train: Interactions,
    validation: Interactions | None,
    *,
    config: Config,
    retriever: TwoTower | Recommender,
    blend: CandidateBlend | None = None,
    dislikes: Ragged | None = None,
    fitted: NeuralRanker | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    monitor: Monitor | None = None,
) -> tuple[NeuralRanker, TrainResult]:
    """Train a ranker on the rows of the retriever; early stopping by ndcg@k of the pipeline.

    Args:
        model: made for the schema that `train` is numbered by; trained in place.
        train: the training part.
        validation: for early stopping, the blend and the calibration.
        config: `[training]`, `[evaluation]` and `[index]` are used; `[ranker]` is the model's own.
        retriever: trained; not changed. A recommender has its index already, and its blend.
        blend: what is retrieved beside towers.
        dislikes: (len(users),) items that are explicit negatives of each user.
        fitted: its blend and calibration are used if there is no validation part.
        checkpoint, resume, monitor: as in `training.trainer.train`.
    """
    settings = training_config(model.config, config.training)
    engine = Engine.from_config(settings)
    towers = retriever
    if isinstance(towers, TwoTower):
        towers = Recommender.build(towers, train, config, blend=blend)
    pool = hard_pool(towers, model.config) if model.config.hard_share else None
    item_weights, note = neighbours(train, model.config)
    objective = RankingObjective(model, train, device=engine.device, pool=pool, dislikes=dislikes)
    candidates = None
    if validation is not None and len(validation):
        part = sample_users(warm_rows(validation, towers), VALIDATION_USERS, settings.seed)
        if len(part):
            candidates = ValidationCandidates.of(towers, part, model.config.num_candidates, config)
    validate = None
    if candidates is not None:
        validate = validation_callback(model, towers, item_weights, candidates, config)
    result = run_training(
        objective,
        ranker_batches(train, model.config, settings.seed),
        settings,
        engine=engine,
        validate=validate,
        checkpoint=checkpoint,
        resume=resume,
        fingerprint=fingerprint(config, train),
        monitor=monitor,
        section="ranker",
    )
    result = replace(result, warnings=(*result.warnings, *([note] if note else [])))
    impute_missing_values(model, train)
    ranker = NeuralRanker.build(model.cpu(), train.items, item_weights)
    if candidates is not None:
        return candidates.fitted(ranker), result
    if fitted is not None:
        ranker = replace(ranker, blend=fitted.blend, calibration=fitted.calibration)
    return ranker, result


def impute_missing_values(model: NeuralCF, train: Interactions) -> None:
    """See `models/layers/missing_values.py`."""
    read = columns_of_training(train)
    impute_missing(model.user_part, read["user"])
    impute_missing(model.context_part, read["context"])
    for part in (model.item_part, model.given_part):
        if part is not None:
            impute_missing(part, read["item"])


def training_config(ranker: RankerConfig, training: TrainingConfig) -> TrainingConfig:
    """`[training]` with the training keys of `[ranker]`."""
    return training.model_copy(
        update={
            "epochs": ranker.epochs or training.epochs,
            "batch_size": ranker.batch_size,
            "learning_rate": ranker.learning_rate,
            "layer_learning_rate": ranker.layer_learning_rate,
            "weight_decay": ranker.weight_decay,
        }
    )


def ranker_batches(
    train: Interactions, config: RankerConfig, seed: int
) -> UserBatches | PairBatches | SequenceBatches:
    """The batches of the training part: users with their histories if the schema has one; single
    pairs if it has context features, which differ between the queries of a user; else users with
    all their items, so that a user's state is computed once."""
    size, history = config.batch_size, train.users.schema.history
    if history is None and train.context:
        return PairBatches(train, batch_size=TARGETS if size == "auto" else size, seed=seed)
    longest = UserBatches.MAX_TARGETS if history is None else history.config.max_length
    typical = max(1, min(longest, len(train) // max(train.users.num_warm, 1)))
    users = min(max(TARGETS // typical, 1), MAX_USERS) if size == "auto" else size
    if history is None:
        return UserBatches(train, batch_size=users, seed=seed)
    return SequenceBatches(train, batch_size=users, seed=seed, max_length=longest)


def neighbours(train: Interactions, config: RankerConfig) -> tuple[ItemItemWeights | None, str]:
    """Item-to-item weights, and a note if they were left out because of their cost; None if there
    are none."""
    if not config.neighbours or not config.blend:
        return None, ""
    number = train.items.num_warm
    if number > config.max_neighbour_items:
        return None, (
            f"The ranker does not use item neighbours: {number:,} items are more than "
            f"ranker.max_neighbour_items = {config.max_neighbour_items:,}."
        )
    try:
        return ItemItemWeights.fit(train, l2=config.neighbour_l2, number=config.neighbours), ""
    except DataError:
        return None, (
            f"The ranker does not use item neighbours: the weights of {number:,} items do not fit "
            "into the free memory."
        )


def validation_callback(
    model: NeuralCF,
    towers: Recommender,
    item_weights: ItemItemWeights | None,
    candidates: ValidationCandidates,
    config: Config,
) -> Validate:
    """Measures the pipeline as it would serve."""
    k, mask_seen = config.evaluation.k, config.evaluation.mask_seen

    def validate() -> dict[str, float]:
        ranker = candidates.fitted(NeuralRanker.build(on_cpu(model), towers.items, item_weights))
        pipeline = Recommender(replace(towers.served, ranker=ranker))
        found = evaluate(pipeline, candidates.part, k=k, mask_seen=mask_seen, candidates="warm")
        metrics = found.metrics
        return {name: metrics[name] for name in (f"ndcg@{k}", f"recall@{k}")}

    return validate


def warm_rows(part: Interactions, towers: Recommender) -> Interactions:
    """The rows of items that training saw. The share of other items in validation depends on the
    split, and the retriever's offset already decides how often they are shown."""
    warm = (part.item_num >= 0) & (towers.item_counts[np.maximum(part.item_num, 0)] > 0)
    return part.take(np.flatnonzero(warm))


def hard_pool(towers: Recommender, config: RankerConfig) -> NDArray[np.int64]:
    """(len(users), hard_pool) the best warm items of each warm user, without the items that the
    user has interacted with; `NO_ITEM` where there are fewer."""
    users = towers.users
    warm = towers.item_counts > 0
    pool = np.full((len(users), config.hard_pool), NO_ITEM, dtype=np.int64)
    for start in range(users.first_known, users.end_warm, USERS_PER_CHUNK):
        user_num = np.arange(start, min(start + USERS_PER_CHUNK, users.end_warm))
        pool[user_num] = towers.top_k(user_num, config.hard_pool, allowed=warm).item_nums
    return pool


@dataclass(frozen=True)
class ValidationCandidates:
    """The validation part's users with their candidates, retrieved once.

    Attributes:
        part: the rows.
        queries: Q of them, without users that are answered by popularity.
        candidates: (Q, K).
        labels: (Q, K), 1 for candidates that are positives of the user.
        num_relevant: (Q,) positives of the user, at least 1.
        k: the cut-off of the metrics.
    """

    part: Interactions
    queries: Queries
    candidates: SearchResult
    labels: Floats
    num_relevant: NDArray[np.int64]
    k: int

    @staticmethod
    def of(
        towers: Recommender, part: Interactions, num_candidates: int, config: Config
    ) -> ValidationCandidates:
        """Retrieve warm items for each user of a part."""
        users, first_row = np.unique(part.user_num, return_index=True)
        reached = towers.paths(users) != POPULAR
        user_num = users[reached].astype(np.int64)
        context = rows_of(part, first_row[reached]) or {}
        queries = towers.served.queries_of(user_num, context)
        excluded = towers.seen.take(user_num) if config.evaluation.mask_seen else None
        warm = towers.item_counts > 0
        candidates = towers.stages.retrieve(queries, num_candidates, excluded, warm).found
        relevant = part.by_user().take(user_num)
        labels = labelled(candidates.item_nums, relevant)
        number = np.maximum(relevant.lengths, 1)
        return ValidationCandidates(part, queries, candidates, labels, number, config.evaluation.k)

    def fitted(self, ranker: NeuralRanker) -> NeuralRanker:
        """The ranker with blend and calibration fitted on these queries."""
        by_source = ranker.said(self.queries, self.candidates)
        there = self.candidates.item_nums != NO_ITEM
        blend = ALONE
        if ranker.model.config.blend:
            blend = Blend.fit(by_source, self.labels, there) or ALONE
            blend = self.refined(blend, by_source)
        mixed = blend.mix(by_source)
        kind = ranker.model.config.calibration
        calibration = Calibration.fit(kind, mixed[there], self.labels[there])
        return replace(ranker, blend=blend, calibration=calibration)

    def refined(self, blend: Blend, by_source: dict[str, Floats]) -> Blend:
        """The blend after coordinate search for ndcg@k, for which the most likely weights are not
        the best. Unchanged if there are few queries."""
        if self.labels.any(axis=1).sum() < MIN_QUERIES:
            return blend
        there = self.candidates.item_nums != NO_ITEM
        scales = {name: float(scores[there].std()) or 1.0 for name, scores in by_source.items()}
        best = self.ndcg(blend.mix(by_source))
        for _ in range(2):
            largest = max(blend[name] * scale for name, scale in scales.items())
            for name, scale in scales.items():
                for share in SHARES:
                    tried = Blend({**blend.weights, name: share * largest / scale})
                    found = self.ndcg(tried.mix(by_source))
                    if found > best + LEAST_GAIN:
                        best, blend = found, tried
        return blend

    def ndcg(self, scores: Floats) -> float:
        """The mean ndcg@k of candidates (Q, K) in the order of their scores."""
        there = self.candidates.item_nums != NO_ITEM
        return mean_ndcg(scores, there, self.labels, self.num_relevant, self.k)


def mean_ndcg(
    scores: Floats,
    there: NDArray[np.bool_],
    labels: Floats,
    num_relevant: NDArray[np.int64],
    k: int,
) -> float:
    """The mean ndcg@k of candidates in the order of their scores.

    Args:
        scores: (Q, K).
        there: (Q, K) where there is a candidate.
        labels: (Q, K), 1 where it is relevant.
        num_relevant: (Q,) relevant items of each query, at least 1.
        k: the cut-off.
    """
    scores = np.where(there, scores, -np.inf)
    k = min(k, scores.shape[1])
    first = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, first, 1), axis=1, kind="stable")
    hits = np.take_along_axis(labels, np.take_along_axis(first, order, 1), 1)
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = discounts.cumsum()[np.minimum(num_relevant, k) - 1]
    return float((hits @ discounts / ideal).mean()) if len(hits) else 0.0


def labelled(item_nums: NDArray[np.int64], relevant: Ragged) -> Floats:
    """(Q, K) 1 where an item (Q, K) is relevant to its query, else 0."""
    width = int(max(item_nums.max(initial=0), relevant.values.max(initial=0))) + 1
    inside = relevant.values >= 0
    wanted = relevant.keys()[inside] * width + relevant.values[inside]
    keys = np.arange(len(item_nums))[:, None] * width + np.maximum(item_nums, 0)
    labels: Floats = (np.isin(keys, wanted) & (item_nums != NO_ITEM)).astype(np.float32)
    return labels
