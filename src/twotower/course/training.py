"""Training of the models of the course, with its progress reported to a `Watch`."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import nn

from twotower.course.results import Figure, ProgressEvent, Watch
from twotower.course.shop import K, dataset, shop
from twotower.data.dataset.dataset import Dataset
from twotower.data.synthetic.shop import best_reachable
from twotower.models.baselines import MostPopular
from twotower.models.layers.feature_encoder import FeatureEncoder
from twotower.models.retriever.towers.base import Tower
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.training.monitor import Monitor
from twotower.training.trainer import TrainResult
from twotower.workflow.evaluate import Evaluation, evaluate
from twotower.workflow.training.fit_retriever import fit_retriever

NDCG = f"ndcg@{K}"


class Reporter(Monitor):
    """Passes the progress of a training run to a watch."""

    def __init__(self, watch: Watch, stage: str = "training") -> None:
        self.watch = watch
        self.stage = stage
        self.epochs = 0

    def start(self, *, epochs: int, steps: int, patience: int | None = None) -> None:
        """See `Monitor`."""
        self.epochs = epochs

    def step(self, epoch: int, step: int, loss: float, targets: int) -> None:
        """See `Monitor`."""
        self.watch.check()

    def epoch(self, record: dict[str, Any], *, is_best: bool) -> None:
        """See `Monitor`."""
        self.watch.report(
            ProgressEvent(
                self.stage,
                record["epoch"],
                self.epochs,
                record["loss"],
                record.get(NDCG),
                record.get("validation_loss"),
            )
        )


def train_towers(data: Dataset, watch: Watch) -> tuple[Recommender, TrainResult]:
    """Train two towers with the config of a dataset; returns them as they are served."""
    model = TwoTower(data.config.retriever, data.schema)
    trained, result = fit_retriever(
        model, data.train, data.validation, config=data.config, monitor=Reporter(watch)
    )
    return Recommender.build(trained, data.train, data.config), result


def validation_ndcg(recommender: Recommender, data: Dataset) -> float:
    """ndcg@10 on the validation rows, ranked over the whole catalogue."""
    return evaluate(recommender, data.validation, k=K).metrics[NDCG]


@cache
def references() -> tuple[float, float]:
    """ndcg@10 on the validation rows of the shop: of recommending the most popular items to
    everyone, and the most that a ranking can be expected to reach."""
    data = dataset()
    best = best_reachable(shop(), data.parts.validation, K, data.parts.train)
    return popularity(data).metrics[NDCG], best[NDCG]


def popularity(data: Dataset) -> Evaluation:
    """Recommending the most popular items to everyone, on the validation rows."""
    return evaluate(MostPopular.fit(data.train), data.validation, k=K)


def scale_values(found: float) -> dict[str, float | str]:
    """`ndcg` on the validation rows, `popular` and `best` to hold it against, and whether it is
    `above` the former."""
    popular, best = references()
    return {"ndcg": found, "popular": popular, "best": best, "above": compared(found, popular)}


def scale_figure(found: float) -> Figure:
    """The same as bars."""
    popular, best = references()
    bars = (("yours", found), ("most popular", popular), ("best reachable", best))
    return Figure("ndcg@10 on the validation rows", bars)


def compared(first: float, second: float) -> str:
    """Where the first figure is beside the second one, in words; differences of less than 2% are
    none.

    >>> compared(0.12, 0.1), compared(0.08, 0.1), compared(0.101, 0.1)
    ('above', 'below', 'about the same as')
    """
    if abs(first - second) < 0.02 * abs(second):
        return "about the same as"
    return "above" if first > second else "below"


def encoded_width(tower: Tower) -> int:
    """The width of all encoded features of a tower, side by side."""
    return sum(one.width for one in tower.encoders if isinstance(one, FeatureEncoder))


def count(module: nn.Module) -> int:
    """Number of parameters of a module and its submodules."""
    return sum(parameter.numel() for parameter in module.parameters())
