"""From a config to a bundle: refit, notes, warnings."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import twotower as tt
from twotower.config import load_config
from twotower.data.synthetic.shop import generate, write
from twotower.errors import BundleError, ConfigError, DataError, TrainingError
from twotower.index.faiss_index import FaissIndex
from twotower.serving.bundle.bundle import held_out_rows
from twotower.workflow.evaluate_bundle import evaluate_bundle
from twotower.workflow.training import train as train_module
from twotower.workflow.training.fit_retriever import make_batches
from twotower.workflow.training.train import (
    batch_warnings,
    begin_run,
    train_bundle,
    with_refit_chosen,
)
from twotower.workflow.training.validation import sample_users


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    catalogue = generate(num_users=300, num_items=150, num_interactions=6000)
    (folder / "twotower.toml").write_text(write(catalogue, folder), encoding="utf-8")
    return folder / "twotower.toml"


def quiet() -> Console:
    return Console(file=StringIO())


@pytest.mark.parametrize("refit", ["none", "train", "all"])
def test_refit_learns_from_the_rows_that_it_says(shop: Path, tmp_path: Path, refit: str) -> None:
    config = load_config(shop, ["training.epochs=4", f"training.refit={refit}"])
    outcome = train_bundle(config, tmp_path / "bundle", console=quiet())
    dataset = tt.Dataset.read(config)
    rows = [len(part) for part in dataset.split()]
    recommender = tt.Recommender.load(tmp_path / "bundle")
    learned = {"none": rows[0], "train": rows[0] + rows[1], "all": sum(rows)}[refit]
    assert int(recommender.item_counts.sum()) == learned
    held_out = held_out_rows(tmp_path / "bundle")
    assert len(held_out) == (0 if refit == "all" else rows[2])
    assert outcome.evaluation is not None
    metrics = json.loads((tmp_path / "bundle" / "manifest.json").read_text())["metrics"]
    assert metrics["metrics"]["ndcg@10"] == outcome.evaluation.metrics["ndcg@10"] > 0
    assert recommender.served.config.training.epochs == (
        4 if refit == "none" else outcome.result.best_epoch
    )
    # A refit has no validation to choose by: it takes what the first fit chose.
    offset = float(recommender.served.towers.cold_offset)
    assert abs(offset) < 2
    assert recommender.served.config.retriever.cold_offset == (
        "auto" if refit == "none" else pytest.approx(offset)
    )
    # A test query's seen items hold the validation rows, whatever was learned from.
    assert len(recommender.served.seen.values) == (sum(rows) if refit == "all" else sum(rows[:2]))


def test_short_sequences_are_trained_again_unasked(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last item of a short sequence is much of what is known of a user; a tenth of long ones
    is not, and of a large log a second training takes long."""
    few = pl.read_parquet(shop.parent / "interactions.parquet").filter(
        pl.int_range(pl.len()).over("user_id") < 5
    )
    few.write_parquet(tmp_path / "few.parquet")
    keys = ["training.epochs=1", f'data.interactions="{tmp_path / "few.parquet"}"']

    def chosen(*overrides: str) -> str:
        config = load_config(shop, [*keys, *overrides])
        return with_refit_chosen(config, tt.Dataset.read(config)).training.refit

    last_out = 'data.split.method="last_out"'
    assert chosen(last_out) == "train"
    assert chosen(last_out, "training.refit=none") == "none"
    assert chosen('data.split.method="random"') == "none"
    config = load_config(shop, [*keys, last_out])
    train_bundle(config, tmp_path / "bundle", console=quiet())
    served = tt.Recommender.load(tmp_path / "bundle").served
    assert served.config.training.refit == "train"
    assert served.histories.learned is None or served.histories.learned.all()
    monkeypatch.setattr(train_module, "MAX_REFIT_ROWS", 100)
    assert chosen(last_out) == "none"


@pytest.mark.parametrize("refit", ["none", "train", "all"])
@pytest.mark.parametrize("ranker", [[], ["ranker.epochs=1"]], ids=["towers", "ranker"])
def test_an_approximate_index_is_built_for_the_bundle_alone(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refit: str, ranker: list[str]
) -> None:
    built: list[int] = []
    build = FaissIndex.build

    def counted(*arguments: Any) -> FaissIndex:
        built.append(len(arguments[1]))
        return build(*arguments)

    monkeypatch.setattr(FaissIndex, "build", counted)
    keys = ["training.epochs=2", "index.kind=hnsw", f"training.refit={refit}", *ranker]
    outcome = train_bundle(load_config(shop, keys), tmp_path / "bundle", console=quiet())
    assert outcome.evaluation is not None
    # A ranker learns from what the index of each of its two fits finds.
    assert len(built) == (2 if ranker and refit != "none" else 1)
    index = json.loads((tmp_path / "bundle" / "manifest.json").read_text())["index"]
    assert index["kind"] == "hnsw"
    assert index["recall"] > 0.9


def test_very_many_test_users_are_sampled_and_the_sentence_says_so(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twotower.workflow.training.train.TEST_USERS", 20)
    config = load_config(shop, ["training.epochs=1"])
    outcome = train_bundle(config, tmp_path / "bundle", console=quiet())
    everyone = len(np.unique(tt.Dataset.read(config).test.user_num))
    assert outcome.evaluation is not None
    assert len(outcome.evaluation.user_num) == 20
    assert outcome.evaluation.notes[0] == (
        f"Measured on 20 of {everyone} test users, drawn at random; `twotower evaluate` asks all "
        "of them."
    )
    assert [len(found.user_num) for found in outcome.evaluation.baselines.values()] == [20] * 3
    assert len(evaluate_bundle(tmp_path / "bundle").user_num) == everyone


def test_the_python_surface_gives_the_same_model(shop: Path, tmp_path: Path) -> None:
    config = load_config(shop, ["training.epochs=2"])
    train_bundle(config, tmp_path / "bundle", console=quiet())
    data = tt.Dataset.read(config)
    train, validation, _ = data.split()
    model = tt.TwoTower(data.config.retriever, data.schema, seed=data.config.training.seed)
    model = tt.fit(model, train, validation, config=data.config)
    recommender = tt.Recommender.build(model, train, data.config)
    loaded = tt.Recommender.load(tmp_path / "bundle")
    np.testing.assert_array_equal(recommender.served.index.vectors(), loaded.served.index.vectors())


def test_a_log_larger_than_memory_gives_the_same_model_and_is_read_once(
    shop: Path, tmp_path: Path
) -> None:
    settings = ["training.epochs=2", "training.refit='train'"]
    train_bundle(load_config(shop, settings), tmp_path / "small", console=quiet())
    config = load_config(shop, [*settings, "data.max_rows_in_memory=100"])
    expected = tt.Recommender.load(tmp_path / "small").served.index.vectors()
    kept = []
    for _ in range(2):
        train_bundle(config, tmp_path / "large", console=quiet())
        found = tt.Recommender.load(tmp_path / "large").served.index.vectors()
        np.testing.assert_array_equal(expected, found)
        tables = tmp_path / "large.run" / "data" / "tables"
        kept.append({file.name: file.stat().st_ino for file in tables.iterdir()})
    assert kept[0] == kept[1]


def test_training_on_context_features_takes_pairs(shop: Path) -> None:
    config = load_config(shop, ['features.context.device={type="category"}', "training.epochs=1"])
    data = tt.Dataset.read(config)
    assert make_batches(data.train, config).batch_size == 2048
    model = tt.TwoTower(config.retriever, data.schema)
    tt.fit(model, data.train, data.validation, config=config)


def test_a_small_batch_for_in_batch_negatives_gets_a_warning(shop: Path) -> None:
    config = load_config(shop, ["retriever.loss=in_batch_softmax", "training.batch_size=2"])
    dataset = tt.Dataset.read(config)
    assert batch_warnings(config, dataset) == (
        "The batch is small for its negatives: 2 in-batch negatives stand for "
        f"{dataset.items.num_warm} items. Raise training.batch_size, set "
        'retriever.mixed_negatives = true, or use retriever.loss = "softmax".',
    )
    enough = load_config(shop, ["retriever.loss=in_batch_softmax"])
    assert batch_warnings(enough, dataset) == ()


def test_an_exploding_loss_leaves_the_old_bundle_whole(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    train_bundle(load_config(shop, ["training.epochs=1"]), out, console=quiet())
    before = (out / "manifest.json").read_text(encoding="utf-8")
    wild = load_config(
        shop,
        ["retriever.normalize=false", "training.learning_rate=1e25", "training.epochs=3"],
    )
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) at step \d+ of epoch 1"):
        train_bundle(wild, out, console=quiet())
    assert (out / "manifest.json").read_text(encoding="utf-8") == before


def test_a_missing_file_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "twotower.toml"
    path.write_text('[data]\ninteractions = "no.csv"\n', encoding="utf-8")
    with pytest.raises(DataError, match="no such file"):
        train_bundle(load_config(path), tmp_path / "out" / "bundle", console=quiet())
    assert sorted(tmp_path.iterdir()) == [path]


def test_validation_is_measured_on_a_fixed_sample_of_users(shop: Path) -> None:
    data = tt.Dataset.read(load_config(shop))
    first, second = (sample_users(data.train, 50, seed=3) for _ in range(2))
    assert len(np.unique(first.user_num)) == 50
    np.testing.assert_array_equal(first.item_num, second.item_num)
    assert sample_users(data.train, 10_000, seed=3) is data.train


def test_what_is_no_bundle_is_refused_before_anything_is_trained(
    shop: Path, tmp_path: Path
) -> None:
    (tmp_path / "adir").mkdir()
    with pytest.raises(BundleError, match="exists and is not a bundle, so it is not replaced"):
        train_bundle(load_config(shop), tmp_path / "adir", console=quiet())
    assert [path.name for path in tmp_path.iterdir()] == ["adir"]


def test_resuming_what_was_not_interrupted_begins_anew_and_says_so(
    shop: Path, tmp_path: Path
) -> None:
    config = load_config(shop, ["training.epochs=1"])
    for place, replaced in enumerate((False, True)):
        console = quiet()
        outcome = train_bundle(config, tmp_path / "b", resume=True, console=console)
        assert isinstance(console.file, StringIO)
        assert "There is no interrupted run in" in console.file.getvalue(), place
        assert (outcome.interrupted, outcome.replaced) == (False, replaced)


def test_a_run_is_resumed_by_its_own_config_alone(shop: Path, tmp_path: Path) -> None:
    run, config = tmp_path / "b.run", load_config(shop)
    begin_run(run, config, resume=False, console=quiet())
    begin_run(run, config, resume=True, console=quiet())
    other = load_config(shop, ["training.epochs=7"])
    with pytest.raises(ConfigError) as error:
        begin_run(run, other, resume=True, console=quiet())
    assert str(error.value) == (
        f"{run}: the interrupted run had training.epochs = {config.training.epochs} (found 7). "
        "Fix: resume with the original config and --set overrides, or leave out --resume."
    )


def test_a_run_of_another_version_is_not_resumed(shop: Path, tmp_path: Path) -> None:
    run, config = tmp_path / "b.run", load_config(shop)
    begin_run(run, config, resume=False, console=quiet())
    kept = json.loads((run / "config.json").read_text(encoding="utf-8"))
    more, fewer = json.loads(json.dumps(kept)), json.loads(json.dumps(kept))
    more["training"]["momentum"] = 0.5
    del fewer["data"]["duplicates"]
    for document in (more, fewer):
        (run / "config.json").write_text(json.dumps(document), encoding="utf-8")
        with pytest.raises(ConfigError) as error:
            begin_run(run, config, resume=True, console=quiet())
        assert str(error.value) == (
            f"{run}: the interrupted run is of another version of twotower, whose config has other "
            "keys. Fix: resume with that version, or leave out --resume."
        )
