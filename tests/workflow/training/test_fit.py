"""Training from Python: without a config, with callbacks, with progress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import twotower as tt
from twotower.config import Config, parse_config
from twotower.data.synthetic.shop import generate
from twotower.training.callbacks import EpochRecord
from twotower.training.monitor import Monitor
from twotower.workflow.training.fit_retriever import (
    AVERAGE_STEPS,
    fit_retriever,
    own_average_steps,
    own_patience,
)

FEATURES = {"item": {"price": {"type": "number"}}}
TOWERS = tt.RetrieverConfig(embedding_dim=8)


@pytest.fixture(name="data", scope="module")
def fixture_data() -> tt.Dataset:
    shop = generate(num_users=80, num_items=50, num_interactions=1000)
    return tt.Dataset.from_frames(shop.interactions, items=shop.items, features=FEATURES)


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_without_a_config_training_is_that_of_the_same_config(data: tt.Dataset) -> None:
    train, validation, _ = data.split()
    config = Config.model_validate(
        {
            "data": {"interactions": "log.csv"},
            "features": FEATURES,
            "retriever": {"embedding_dim": 8},
            "training": {"epochs": 3, "learning_rate": 0.02},
            "evaluation": {"k": 5},
        }
    )
    expected, result = fit_retriever(
        tt.TwoTower(config.retriever, data.schema), train, validation, config=config
    )
    curve = tt.LearningCurve()
    found = tt.fit(
        tt.TwoTower(TOWERS, data.schema),
        train,
        validation,
        training=tt.TrainingConfig(learning_rate=0.02),
        evaluation=tt.EvaluationConfig(k=5),
        epochs=3,
        callbacks=[curve],
    )
    assert same(found, expected)
    assert curve.result is not None
    for record, logged in zip(curve.records, result.epochs, strict=True):
        assert (record.epoch, record.loss) == (logged["epoch"], logged["loss"])
        assert dict(record.metrics) == {n: logged[n] for n in ("ndcg@5", "recall@5")}


def test_what_is_given_takes_the_place_of_the_config(data: tt.Dataset) -> None:
    train, validation, _ = data.split()
    curve = tt.LearningCurve()
    tt.fit(
        tt.TwoTower(TOWERS, data.schema),
        train,
        validation,
        config=data.config.model_copy(update={"training": tt.TrainingConfig(epochs=7)}),
        evaluation=tt.EvaluationConfig(k=3),
        epochs=1,
        callbacks=[curve],
    )
    assert [(r.epoch, list(r.metrics)) for r in curve.records] == [(1, ["ndcg@3", "recall@3"])]


def test_without_validation_all_epochs_are_trained(data: tt.Dataset) -> None:
    curve = tt.LearningCurve()
    tt.fit(tt.TwoTower(TOWERS, data.schema), data.train, epochs=2, callbacks=[curve])
    assert [(r.epoch, dict(r.metrics), r.is_best) for r in curve.records] == [
        (1, {}, False),
        (2, {}, False),
    ]


def test_a_ranker_needs_no_config_either(data: tt.Dataset) -> None:
    train, validation, test = data.split()
    towers = tt.fit(tt.TwoTower(TOWERS, data.schema), train, validation, epochs=1)
    curve = tt.LearningCurve()
    ranker = tt.fit(
        tt.NeuralCF(tt.RankerConfig(embedding_dim=8, num_candidates=20), data.schema),
        train,
        validation,
        retriever=towers,
        epochs=2,
        callbacks=[curve],
    )
    assert len(curve.records) == 2
    recommender = tt.Recommender.build(towers, train, data.config, ranker=ranker)
    assert tt.evaluate(recommender, test, k=5).stages == ("retrieve", "rank")


def test_a_ranker_without_a_retriever_is_refused(data: tt.Dataset) -> None:
    ranker: Any = tt.NeuralCF(schema=data.schema)
    with pytest.raises(ValueError, match="retriever") as caught:
        tt.fit(ranker, data.train)
    assert str(caught.value) == (
        "The 'retriever' parameter must be a trained TwoTower. Got None instead."
    )


@pytest.mark.parametrize("model", [tt.TwoTower, tt.NeuralCF])
def test_a_model_without_a_schema_is_refused(model: Any) -> None:
    with pytest.raises(TypeError) as caught:
        model()
    assert str(caught.value) == (
        f"{model.__name__} needs a schema: {model.__name__}(schema=data.schema)"
    )


def test_a_callback_that_fails_leaves_the_model_in_the_error(data: tt.Dataset) -> None:
    class Full:
        def on_epoch(self, record: EpochRecord) -> None:
            if record.epoch == 2:
                raise OSError("no space left")

    train, validation, test = data.split()
    with pytest.raises(tt.CallbackError) as caught:
        tt.fit(tt.TwoTower(TOWERS, data.schema), train, validation, callbacks=[Full()])
    error = caught.value
    assert str(error) == (
        "Full.on_epoch raised OSError: no space left; training has ended, and this error's 'model' "
        f"has the weights of epoch {error.result.best_epoch}. Fix: correct the callback."
    )
    assert isinstance(error.__cause__, OSError)
    expected = tt.fit(
        tt.TwoTower(TOWERS, data.schema), train, validation, epochs=error.result.best_epoch
    )
    assert same(error.model, expected)
    assert len(tt.evaluate(tt.Recommender.build(error.model, train, data.config), test).user_num)


def test_progress_is_on_standard_error_and_only_where_asked_for(
    data: tt.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    tt.fit(tt.TwoTower(TOWERS, data.schema), data.train, epochs=1)
    assert capsys.readouterr() == ("", "")
    tt.fit(tt.TwoTower(TOWERS, data.schema), data.train, epochs=2, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line[:19] for line in err.splitlines()] == [
        "training: epoch   1",
        "training: epoch   2",
    ]


def test_the_temperature_is_that_of_the_number_of_rows(data: tt.Dataset) -> None:
    for given, expected in (("auto", 0.4), (0.25, 0.25)):
        config = tt.RetrieverConfig.model_validate({"embedding_dim": 8, "temperature": given})
        model = tt.fit(tt.TwoTower(config, data.schema), data.train, epochs=1)
        assert float(model.temperature.detach()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("history", "loss", "steps"),
    [
        (True, "sampled_softmax", AVERAGE_STEPS),
        (True, "softmax", 0),
        (False, "sampled_softmax", 0),
    ],
)
def test_weights_that_histories_and_samples_make_noisy_are_averaged(
    data: tt.Dataset, history: bool, loss: str, steps: int
) -> None:
    document: dict[str, Any] = {
        "data": {"interactions": "log"},
        "features": {"user": {"history": {"type": "history"}} if history else {}},
        "retriever": {"loss": loss},
    }
    config = parse_config(document)
    again = tt.Dataset.from_parts(config, data.tables, data.parts)
    model = tt.TwoTower(config.retriever, again.schema)
    assert own_average_steps(model, config) == steps
    document["training"] = {"average_steps": 3}
    assert own_average_steps(model, parse_config(document)) == 3


class Stop(Monitor):
    """Ends training in the middle of the second epoch, as Ctrl-C does."""

    def step(self, epoch: int, step: int, loss: float, targets: int) -> None:
        if (epoch, step) == (1, 4):
            raise KeyboardInterrupt


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("every", [1, 3])
def test_a_resumed_run_ends_with_the_same_tables(
    tmp_path: Path, every: int, precision: str
) -> None:
    shop = generate(num_users=80, num_items=50, num_interactions=1000)
    data = tt.Dataset.from_frames(
        shop.interactions,
        retriever={"embedding_dim": 8, "smoothing_every": every, "table_precision": precision},
        training={"epochs": 3, "batch_size": 10},
    )
    train, validation, _ = data.split()

    def run(folder: Path | None, **options: Any) -> tt.TwoTower:
        model = tt.TwoTower(data.config.retriever, data.schema)
        return fit_retriever(
            model, train, validation, config=data.config, checkpoint=folder, **options
        )[0]

    whole = run(None)
    run(tmp_path / "run", monitor=Stop())
    assert same(run(tmp_path / "run", resume=True), whole)
    assert whole.smooths_each_step == (every == 1)
    assert whole.id_encoders()[0].table.sparse == (every > 1 or precision == "bf16")


def test_patience_is_shorter_where_rows_are_few() -> None:
    def patience(num_rows: int, **training: int) -> int:
        config = parse_config({"data": {"interactions": "log.csv"}, "training": training})
        return own_patience(config.training, num_rows)

    assert [patience(rows) for rows in (1, 99_999, 100_000, 10**9)] == [3, 3, 5, 5]
    assert [patience(rows, patience=4) for rows in (1, 10**9)] == [4, 4]
