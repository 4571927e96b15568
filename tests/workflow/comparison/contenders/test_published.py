"""GMF, MLP and NeuMF of the paper as models of a comparison: what they learn, what they answer."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from twotower.config import parse_config
from twotower.data.dataset.dataset import Dataset
from twotower.errors import DataError
from twotower.training.monitor import Monitor
from twotower.training.trainer import TrainResult
from twotower.workflow.comparison.contenders.base import TrainedModel, curve_of
from twotower.workflow.comparison.contenders.published import PairScorer, train_published
from twotower.workflow.training import catalog_ranker as full_catalog
from twotower.workflow.training.catalog_ranker import FullCatalogRanker
from twotower.workflow.training.train import known_events
from twotower.workflow.tuning.settings import Settings

NAMES = ("gmf", "mlp", "neumf")
GROUPS, ITEMS = 3, 60
SETTINGS: Settings = {"learning_rate": 0.01, "l2": 0.0001, "num_negatives": 4}


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """120 users take 12 of the 20 items of their group, and nothing else."""
    rng = np.random.default_rng(0)
    rows = [
        (user, int(item) * GROUPS + user % GROUPS)
        for user in range(120)
        for item in rng.permutation(ITEMS // GROUPS)[:12]
    ]
    file = tmp_path_factory.mktemp("groups") / "log.csv"
    pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row").write_csv(file)
    settings = {
        "data": {"interactions": str(file), "split": {"method": "random"}},
        "retriever": {"embedding_dim": 8},
        "evaluation": {"k": 5},
    }
    return Dataset.read(parse_config(settings))


@pytest.fixture(scope="module")
def all_learned(groups: Dataset) -> dict[str, TrainedModel]:
    return {name: train_published(name, groups, SETTINGS, Monitor(), {}) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_who_takes_what_and_answers_by_its_own_scores(
    name: str, groups: Dataset, all_learned: dict[str, TrainedModel]
) -> None:
    learned = all_learned[name]
    ranker = learned.ranker(known_events(groups))
    assert isinstance(ranker, FullCatalogRanker)
    assert isinstance(ranker.scorer, PairScorer)
    users = np.arange(groups.users.first_known, groups.users.end_warm)
    answer = ranker.top_k(users, 5)
    group = np.array([groups.users.ids[int(user)] % GROUPS for user in users])
    items = groups.items.ids.gather(answer.item_nums.ravel()).to_numpy().reshape(answer[0].shape)
    assert float((items % GROUPS == group[:, None]).mean()) > 0.9
    model = ranker.scorer.model
    assert learned.parameters == sum(weight.numel() for weight in model.parameters())
    with torch.no_grad():
        logits = model(torch.from_numpy(users), torch.from_numpy(answer.item_nums))
    np.testing.assert_allclose(answer.scores, logits.numpy(), rtol=1e-4, atol=1e-5)
    for row, user in enumerate(users):
        assert not np.isin(answer.item_nums[row], ranker.seen[int(user)]).any()
    assert [point["epoch"] for point in learned.curve] == sorted(
        {point["epoch"] for point in learned.curve}
    )
    assert max(point["metric"] for point in learned.curve) > 0.2  # which of eight is chance


def test_neumf_is_made_of_both(all_learned: dict[str, TrainedModel]) -> None:
    sizes = [all_learned[name].parameters for name in NAMES]
    assert sizes[2] == sizes[0] + sizes[1] - 1  # they share the bias


def test_a_catalogue_that_is_too_large(groups: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_catalog, "MAX_ITEMS", 59)
    with pytest.raises(DataError, match="scoring each of 60 items for each request"):
        train_published("gmf", groups, SETTINGS, Monitor(), {})


def test_curves_of_trainings_one_after_the_other() -> None:
    first, second = (
        TrainResult(
            best_epoch=1,
            best_metric=None,
            epochs=[{"epoch": n, "seconds": 10.0 * n, "m": x} for n, x in enumerate(found, 1)],
            stopped="epochs",
            seconds=10.0 * len(found),
            warnings=(),
        )
        for found in ((0.1, 0.2), (0.3,))
    )
    assert [tuple(point.values()) for point in curve_of("m", first, second)] == [
        (1, 10.0, 0.1),
        (2, 20.0, 0.2),
        (3, 30.0, 0.3),
    ]
