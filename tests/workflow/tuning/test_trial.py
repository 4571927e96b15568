from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.workflow.tuning.shops import config_of, write_shop
from twotower.config import Config
from twotower.data.dataset.dataset import Dataset
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.workflow.evaluate import evaluate
from twotower.workflow.training.fit_retriever import fit_retriever
from twotower.workflow.training.train import fit_stages
from twotower.workflow.tuning.space import search_space
from twotower.workflow.tuning.study import RANKER_STEPS, Curve, Trial
from twotower.workflow.tuning.trial import (
    TrialRunner,
    finished_curves,
    read_without_test,
    user_values,
)


@pytest.fixture(name="shop", scope="module")
def fixture_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop"))


def run(
    config: Config,
    folder: Path,
    *,
    number: int = 0,
    settings: dict[str, float | int | str | bool] | None = None,
    curves: list[Curve] | None = None,
) -> Trial:
    runner = TrialRunner(read_without_test(config), folder, Console(file=io.StringIO()))
    return runner.run(number, settings or {}, curves or [])


def test_the_test_part_is_not_there(shop: Path) -> None:
    whole, left = Dataset.read(config_of(shop)), read_without_test(config_of(shop))
    assert len(whole.test) > 0
    assert len(left.test) == len(left.parts.test) == 0
    assert len(left.tables.interactions) == len(whole.train) + len(whole.validation)
    pairs = ["user_id", "item_id", "timestamp"]
    tested = whole.parts.test.select(pairs)
    assert left.tables.interactions.join(tested, on=pairs, how="semi").is_empty()
    assert left.parts.train.equals(whole.parts.train)
    assert left.parts.validation.equals(whole.parts.validation)


def test_the_first_trial_is_the_training_of_the_config_as_it_is(shop: Path, tmp_path: Path) -> None:
    config = config_of(shop, "training.epochs=4")
    data = Dataset.read(config)
    model, result = fit_retriever(
        TwoTower(config.retriever, data.schema, seed=0), data.train, data.validation, config=config
    )
    found = evaluate(Recommender.build(model, data.train, config), data.validation, k=5)
    own = {key: searched.own for key, searched in search_space(read_without_test(config)).items()}
    trial = run(config, tmp_path, settings=own)
    assert trial.failure is None
    assert trial.value == pytest.approx(found.metrics["ndcg@5"], abs=1e-6)
    assert trial.curve == pytest.approx(
        {epoch["epoch"]: epoch["ndcg@5"] for epoch in result.epochs}, abs=1e-6
    )
    values = user_values(tmp_path, 0)
    np.testing.assert_allclose(values, found.per_query["ndcg@5"], atol=1e-6)


def test_the_towers_are_blended_as_in_training(shop: Path, tmp_path: Path) -> None:
    config = config_of(shop, "training.epochs=4", "retriever.blend=true")
    data = Dataset.read(config)
    trained = fit_stages(data, None, console=Console(file=io.StringIO()))
    served = trained.recommender.served
    assert served.blend is not None
    recommender = Recommender.build(served.towers, data.train, config, blend=served.blend)
    found = evaluate(recommender, data.validation, k=5)
    trial = run(config, tmp_path)
    assert trial.failure is None
    assert trial.value == pytest.approx(found.metrics["ndcg@5"], abs=1e-6)
    alone = run(config_of(shop, "training.epochs=4"), tmp_path)
    assert trial.value is not None
    assert alone.value is not None
    assert trial.value > alone.value
    again = run(config, tmp_path, settings={"features.item.id.dropout": 0.2})
    assert again.failure is None  # other features, and the same baselines


def test_settings_of_features_and_of_a_ranker_are_used(shop: Path, tmp_path: Path) -> None:
    config = config_of(
        shop,
        'features.user.history.type="history"',
        'features.user.history.encoder="mean"',
        "ranker.embedding_dim=4",
        "ranker.epochs=2",
        "ranker.blend=false",
        "ranker.num_candidates=20",
    )
    settings: dict[str, float | int | str | bool] = {
        "features.user.history.max_length": 5,
        "ranker.dropout": 0.3,
    }
    first = run(config, tmp_path, settings=settings)
    assert first.failure is None
    assert list(first.curve or {}) == [1, 2, RANKER_STEPS + 1, RANKER_STEPS + 2]
    assert first.epochs == 4
    other = run(config, tmp_path, number=1, settings={**settings, "ranker.dropout": 0.0})
    longer = run(config, tmp_path, settings={**settings, "features.user.history.max_length": 50})
    assert first.curve is not None
    assert other.curve is not None
    assert longer.curve is not None
    assert first.curve[1] == other.curve[1] != longer.curve[1]
    assert first.curve[RANKER_STEPS + 1] != other.curve[RANKER_STEPS + 1]
    assert (tmp_path / "1.parquet").exists()


def test_a_trial_that_falls_behind_is_pruned(shop: Path, tmp_path: Path) -> None:
    config = config_of(shop, "training.epochs=9", "training.patience=2")
    ahead: list[Curve] = [dict.fromkeys(range(1, 10), 0.9)] * 5
    trial = run(config, tmp_path, curves=ahead)
    assert (trial.pruned, trial.value, trial.failure) == (True, None, None)
    assert list(trial.curve or {}) == [1, 2, 3]  # the first two are never pruned
    assert list(tmp_path.iterdir()) == []
    assert finished_curves([trial, Trial(1, {}, 0.5, 1.0, curve={1: 0.5})]) == [{1: 0.5}]


def test_a_failure_is_recorded(shop: Path, tmp_path: Path) -> None:
    rates = ("training.learning_rate", "training.layer_learning_rate")
    trial = run(config_of(shop), tmp_path, settings=dict.fromkeys(rates, 1e30))
    assert trial.value is None
    assert trial.failure is not None
    assert trial.failure.startswith("the loss became nan at step ")
    unknown = run(config_of(shop), tmp_path, settings={"training.epochs": 0})
    assert (unknown.failure or "").startswith("ValidationError: 1 validation error for Config")
