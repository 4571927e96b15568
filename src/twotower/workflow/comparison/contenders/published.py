"""GMF, MLP and NeuMF as published (He et al. 2017): ids only, ranking the full catalogue."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.config import Config
from twotower.config.baselines import SearchRange
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.entities import tensor_of
from twotower.models.ranker.neumf import NeuMF
from twotower.serving.bundle.queries import Queries
from twotower.training.engine import Engine, on_cpu
from twotower.training.monitor import Monitor
from twotower.training.trainer import TrainResult
from twotower.workflow.comparison.contenders.base import (
    Contender,
    TrainedModel,
    TrialCache,
    curve_of,
    never,
)
from twotower.workflow.comparison.contenders.towers import ids_only
from twotower.workflow.training.catalog_ranker import (
    FullCatalogRanker,
    check_size,
    validation_callback,
)
from twotower.workflow.training.fit_neumf import TRAININGS, fit_pairs, training_of, untrained
from twotower.workflow.tuning.settings import Settings, Space, with_config
from twotower.workflow.tuning.trial import uninterrupted

TITLES = {"gmf": "GMF", "mlp": "MLP", "neumf": "NeuMF"}
ABOUT = {
    "gmf": "Matrix factorization with a learned weight per factor (He et al. 2017).",
    "mlp": "An MLP over user and item embeddings, ids only (He et al. 2017).",
    "neumf": "Pre-trained GMF and MLP, joined and fine-tuned, ids only (He et al. 2017).",
}
SPACE: Space = {
    "learning_rate": SearchRange(0.0005, 0.01, log=True),
    "l2": SearchRange(0.0001, 0.02, log=True),
    "num_negatives": SearchRange(2, 8, integer=True),
}
PAIRS = 1 << 17
"""Maximum number of pairs scored at once, to bound memory."""


def published(config: Config) -> list[Contender]:
    """All three models; they are slow, so they are included only if named."""
    bare = ids_only(config)
    first = TRAININGS["gmf"]
    defaults: Settings = {name: getattr(first, name) for name in SPACE}
    return [
        Contender(
            name,
            title,
            "deep",
            ABOUT[name],
            partial(train_published, name),
            SPACE,
            defaults,
            view=lambda dataset: with_config(dataset, bare),
            default_for=never,
        )
        for name, title in TITLES.items()
    ]


@dataclass(frozen=True)
class PairScorer:
    """Scores candidates by ids only."""

    model: NeuMF

    @torch.no_grad()
    def logits(self, queries: Queries, item_nums: NDArray[np.int64]) -> NDArray[np.float32]:
        """(Q, K) for Q queries and their candidates (Q, K)."""
        users, items = tensor_of(queries.users, ID_FEATURE), torch.from_numpy(item_nums.copy())
        block = max(1, PAIRS // max(items.shape[1], 1))
        parts = [
            self.model(*both)
            for both in zip(torch.split(users, block), torch.split(items, block), strict=True)
        ]
        logits: NDArray[np.float32] = torch.cat(parts).numpy()
        return logits


def train_published(
    name: str, dataset: Dataset, settings: Settings, monitor: Monitor, cache: TrialCache
) -> TrainedModel:
    """Train one of the models; each part of NeuMF stops early by its own validation.

    Raises:
        DataError: the catalogue is too large to score every item.
        KeyboardInterrupt: Ctrl-C stopped the training; an incomplete training is not a trial.
    """
    del cache
    check_size(dataset)
    config, train = dataset.config, dataset.train
    seed, engine = config.training.seed, Engine.from_config(config.training)
    results: list[TrainResult] = []

    def fitted(part: str, model: NeuMF) -> NeuMF:
        chosen: Any = settings
        how = training_of(part, **chosen)
        found = fit_pairs(
            model,
            train,
            replace(how, epochs=min(how.epochs, config.training.epochs)),
            seed=seed,
            engine=engine,
            validate=validation_callback(lambda: PairScorer(on_cpu(model)), dataset),
            monitor=monitor,
        )
        results.append(uninterrupted(found))
        return model.cpu()

    made = {
        part: fitted(part, untrained(part, train, config.retriever.embedding_dim, seed))
        for part in (("gmf", "mlp") if name == "neumf" else (name,))
    }
    if name == "neumf":
        made[name] = fitted(name, NeuMF.pretrained(made["gmf"], made["mlp"]))
    model = made[name].eval()
    return TrainedModel(
        lambda histories: FullCatalogRanker.of(PairScorer(model), train, histories),
        sum(weight.numel() for weight in model.parameters()),
        curve_of(f"ndcg@{config.evaluation.k}", *results),
    )
