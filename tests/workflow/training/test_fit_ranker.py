"""Both stages from a config to a bundle; what validation decides; the report on the stages."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from rich.console import Console

import twotower as tt
from twotower.config import Config, RankerConfig, load_config
from twotower.data.arrays.ragged import Ragged
from twotower.data.dataset.dataset import Dataset
from twotower.data.synthetic.shop import generate, write
from twotower.errors import DataError
from twotower.evaluation import metrics as m
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.workflow.evaluate import evaluate
from twotower.workflow.evaluate_bundle import evaluate_bundle
from twotower.workflow.training.catalog_ranker import FullCatalogRanker
from twotower.workflow.training.fit_ranker import (
    ValidationCandidates,
    fit_ranker,
    hard_pool,
    labelled,
    neighbours,
)
from twotower.workflow.training.stage_report import stage_report
from twotower.workflow.training.train import Trained, fit_stages, known_events, train_bundle

SETTINGS = (
    "training.epochs=4",
    "ranker.epochs=2",
    "ranker.num_candidates=40",
    "ranker.hard_share=0.25",
    "ranker.hard_pool=30",
    "ranker.embedding_dim=16",
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    catalogue = generate(num_users=300, num_items=150, num_interactions=6000)
    (folder / "twotower.toml").write_text(write(catalogue, folder), encoding="utf-8")
    return folder / "twotower.toml"


@pytest.fixture(scope="module")
def config(shop: Path) -> Config:
    return load_config(shop, SETTINGS)


@pytest.fixture(scope="module")
def dataset(config: Config) -> Dataset:
    return Dataset.read(config)


@pytest.fixture(scope="module")
def trained(dataset: Dataset) -> Trained:
    return fit_stages(dataset, None, console=quiet())


def quiet() -> Console:
    return Console(file=StringIO())


def ranker_of(recommender: tt.Recommender) -> NeuralRanker:
    assert isinstance(recommender.served.ranker, NeuralRanker)
    return recommender.served.ranker


def test_train_writes_both_stages_and_evaluate_tells_them(config: Config, tmp_path: Path) -> None:
    outcome = train_bundle(config, tmp_path / "bundle", console=quiet())
    assert outcome.evaluation is not None
    found = evaluate_bundle(tmp_path / "bundle")
    assert found.to_json()["stages"] == ["retrieve", "blend", "rank"]
    assert found.metrics == outcome.evaluation.metrics
    log = (tmp_path / "bundle.run" / "training.jsonl").read_text(encoding="utf-8").splitlines()
    stages = {json.loads(line)["stage"] for line in log}
    assert stages == {"training", "training, ranker"}
    assert not (tmp_path / "bundle.run" / "fit-ranker").exists()


def test_without_the_section_there_is_no_ranker(shop: Path, tmp_path: Path) -> None:
    config = load_config(shop, ["training.epochs=1"])
    assert config.ranker is None
    outcome = train_bundle(config, tmp_path / "bundle", console=quiet())
    assert outcome.evaluation is not None
    assert outcome.evaluation.to_json()["stages"] == ["retrieve", "blend"]
    assert tt.Recommender.load(tmp_path / "bundle").served.ranker is None


def test_with_the_whole_catalogue_as_candidates_the_ranker_alone_decides(shop: Path) -> None:
    more = ("ranker.num_candidates=1000", "ranker.blend=false", "ranker.hard_share=0")
    dataset = Dataset.read(load_config(shop, [*SETTINGS, *more]))
    recommender = fit_stages(dataset, None, console=quiet()).recommender
    model = ranker_of(recommender).model
    alone = FullCatalogRanker.build(model, dataset.train, known_events(dataset))
    users = np.arange(dataset.users.first_known, dataset.users.end_warm)
    warm = recommender.item_counts > 0  # how much of new items is shown is the towers' matter
    found, expected, towers = (
        one.top_k(users, 10, allowed=warm).item_nums
        for one in (recommender, alone, Recommender(replace(recommender.served, ranker=None)))
    )
    assert float((found == expected).mean()) > 0.999  # but for ties
    assert float((found == towers).mean()) < 0.5


def test_a_refit_takes_over_what_validation_chose(
    config: Config, dataset: Dataset, trained: Trained
) -> None:
    again = fit_stages(dataset.refit("train"), None, console=quiet(), fitted=trained)
    first, second = ranker_of(trained.recommender), ranker_of(again.recommender)
    assert second.blend == first.blend
    assert second.calibration == first.calibration
    assert first.blend["retriever"] > 0
    assert first.calibration.kind == "temperature"
    alone = fit_stages(dataset.refit("train"), None, console=quiet())
    assert ranker_of(alone.recommender).blend["retriever"] == 0
    assert ranker_of(alone.recommender).calibration.kind == "none"


def test_the_pipeline_is_no_worse_than_the_towers_on_validation(
    dataset: Dataset, trained: Trained
) -> None:
    served = trained.recommender.served
    recommender = Recommender(served.with_users(served.users, dataset.train.histories()))
    both = evaluate(recommender, dataset.validation, k=10)
    towers = evaluate(
        Recommender(replace(recommender.served, ranker=None)), dataset.validation, k=10
    )
    assert both.stages == ("retrieve", "blend", "rank")
    assert both.metrics["ndcg@10"] > towers.metrics["ndcg@10"] - 0.005


def test_the_python_surface_gives_the_same_ranker(
    config: Config, dataset: Dataset, trained: Trained
) -> None:
    assert config.ranker is not None
    model = tt.NeuralCF(config.ranker, dataset.schema, seed=config.training.seed)
    retriever = trained.recommender.served.towers
    blend = tt.fit_blend(retriever, dataset.train, dataset.validation, config=config)
    known = trained.recommender.served.blend
    assert known is not None
    assert blend.usual == known.usual
    ranker = tt.fit(
        model, dataset.train, dataset.validation, config=config, retriever=retriever, blend=blend
    )
    expected = ranker_of(trained.recommender)
    np.testing.assert_array_equal(ranker.items.states, expected.items.states)
    assert ranker.blend == expected.blend
    built = tt.Recommender.build(retriever, dataset.train, config, ranker=ranker)
    assert built.served.stage_names == ("retrieve", "rank")


def test_a_ranker_needs_a_retriever(config: Config, dataset: Dataset) -> None:
    assert config.ranker is not None
    model = tt.NeuralCF(config.ranker, dataset.schema)
    with pytest.raises(ValueError, match=r"^The 'retriever' parameter must be a trained TwoTower"):
        tt.fit(model, dataset.train, config=config)  # type: ignore[call-overload]


@pytest.mark.parametrize("kind", ["none", "temperature", "isotonic"])
def test_every_calibration_keeps_the_order(
    kind: str, config: Config, dataset: Dataset, trained: Trained
) -> None:
    assert config.ranker is not None
    changed = config.ranker.model_copy(update={"calibration": kind, "epochs": 1})
    model = tt.NeuralCF(changed, dataset.schema)
    ranker, _ = fit_ranker(
        model,
        dataset.train,
        dataset.validation,
        config=config.model_copy(update={"ranker": changed}),
        retriever=trained.recommender.served.towers,
    )
    assert ranker.calibration.kind == kind
    asked = ValidationCandidates.of(trained.recommender, dataset.test, 40, config)
    mixed = ranker.blend.mix(ranker.said(asked.queries, asked.candidates))
    said = ranker.score(asked.queries, asked.candidates)
    order = np.argsort(mixed, axis=1)
    assert (np.diff(np.take_along_axis(said, order, 1), axis=1) >= 0).all()


# --- the report ---


@pytest.mark.parametrize("among", ["all", "warm", "cold"])
def test_the_report_agrees_with_evaluations(
    dataset: Dataset, trained: Trained, among: Literal["all", "warm", "cold"]
) -> None:
    chosen = dataset.config.evaluation.model_copy(update={"candidates": among})
    config = dataset.config.model_copy(update={"evaluation": chosen})
    recommender = Recommender(replace(trained.recommender.served, config=config))
    report = stage_report(recommender, dataset.test, k=10)
    both = evaluate(recommender, dataset.test, k=10, candidates=among)
    towers = evaluate(
        Recommender(replace(recommender.served, ranker=None)), dataset.test, k=10, candidates=among
    )
    assert report["pipeline"]["ndcg@10"] == both.metrics["ndcg@10"]
    assert report["retrieve"]["ndcg@10"] == towers.metrics["ndcg@10"]
    gap = both.metrics["ndcg@10"] - towers.metrics["ndcg@10"]
    assert report["lift"]["ndcg@10"] == pytest.approx(gap)
    wide = evaluate(
        Recommender(replace(recommender.served, ranker=None)), dataset.test, k=40, candidates=among
    )
    assert report["ceiling"]["recall@40"] == pytest.approx(wide.metrics["recall@40"])
    assert report["ceiling"]["ndcg@10"] > both.metrics["ndcg@10"]
    assert report["milliseconds"].keys() == {"retrieve", "rank"}
    json.dumps(report)


def test_probabilities_are_what_they_say(dataset: Dataset, trained: Trained) -> None:
    found = stage_report(trained.recommender, dataset.test, k=10)["calibration"]
    assert 0 < found["taken"] < 0.2
    assert found["expected_calibration_error"] < 0.03
    assert sum(found["reliability"]["count"]) == found["num_candidates"]


def test_no_ranker_no_report(dataset: Dataset, trained: Trained) -> None:
    expected = (
        r"^the bundle has no ranking stage to report on\. "
        r"Fix: add a \[ranker\] section to the config and train again\.$"
    )
    with pytest.raises(DataError, match=expected):
        stage_report(Recommender(replace(trained.recommender.served, ranker=None)), dataset.test)


# --- parts ---


def test_too_many_items_for_neighbours_are_told(dataset: Dataset) -> None:
    settings = RankerConfig(max_neighbour_items=100)
    assert neighbours(dataset.train, RankerConfig(neighbours=0)) == (None, "")
    assert neighbours(dataset.train, RankerConfig(blend=False)) == (None, "")
    number = dataset.items.num_warm
    assert neighbours(dataset.train, settings) == (
        None,
        f"The ranker does not use item neighbours: {number} items are more than "
        "ranker.max_neighbour_items = 100.",
    )


def test_labels_by_hand() -> None:
    nums = np.array([[3, 5, -1], [5, 4, 3], [2, 3, 4]])
    relevant = Ragged.group(np.array([0, 0, 1, 1]), np.array([5, -1, 3, 9]), 3)
    assert labelled(nums, relevant).tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_ndcg_of_candidates_is_that_of_the_metrics(dataset: Dataset, trained: Trained) -> None:
    asked = ValidationCandidates.of(trained.recommender, dataset.test, 40, dataset.config)
    scores = np.random.default_rng(0).random(asked.labels.shape, dtype=np.float32)
    users = np.unique(dataset.test.user_num).astype(np.int64)
    reached = trained.recommender.paths(users) != 3
    relevant = dataset.test.by_user().take(users[reached])
    nums = asked.candidates.item_nums
    ranked = np.take_along_axis(nums, np.argsort(-np.where(nums < 0, -np.inf, scores), axis=1), 1)
    expected = m.mean(m.ranking_metrics(ranked[:, : asked.k], relevant, asked.k)[f"ndcg@{asked.k}"])
    assert asked.ndcg(scores) == pytest.approx(expected)


def test_hard_negatives_are_what_the_towers_rank_first(
    config: Config, dataset: Dataset, trained: Trained
) -> None:
    assert config.ranker is not None
    towers = tt.Recommender.build(trained.recommender.served.towers, dataset.train, config)
    pool = hard_pool(towers, config.ranker)
    assert pool.shape == (len(dataset.users), 30)
    user = dataset.users.first_known + 4
    first = towers.top_k(np.array([user]), 30, allowed=towers.item_counts > 0)
    np.testing.assert_array_equal(pool[user], first.item_nums[0])
    assert pool.max() < dataset.items.end_warm < len(dataset.items)
    assert not set(pool[user]) & set(dataset.train.by_user()[user].tolist())
    assert (pool[dataset.users.end_warm :] == -1).all()
