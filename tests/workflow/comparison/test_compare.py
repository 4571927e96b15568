"""Comparisons from data to report, in this process and in processes of their own."""

from __future__ import annotations

import html
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from twotower.config import Config, load_config
from twotower.data.dataset.dataset import Dataset
from twotower.data.synthetic.shop import generate, write
from twotower.errors import ConfigError, DataError
from twotower.evaluation.metrics import ranking_metrics
from twotower.evaluation.report import Evaluation
from twotower.evaluation.significance import holm, paired_p_value
from twotower.workflow.comparison import compare as module
from twotower.workflow.comparison.compare import Comparison, compare, run_process
from twotower.workflow.comparison.contenders import (
    Contender,
    TrainedModel,
    contenders,
    select_contenders,
)
from twotower.workflow.comparison.report.terminal import render_comparison
from twotower.workflow.comparison.results import FinishedModel, first_two
from twotower.workflow.comparison.run_contender import translate
from twotower.workflow.tuning.settings import Settings

QUICK = (
    "training.epochs=2",
    "retriever.embedding_dim=8",
    "compare.trials=2",
    "compare.isolate=false",
    "compare.resamples=200",
    "compare.timed_queries=5",
    "evaluation.k=5",
)
MODELS = ("popularity", "ease", "ials", "two_tower_ids", "two_tower")


def config_of(folder: Path, *overrides: str) -> Config:
    return load_config(folder / "twotower.toml", [*QUICK, *overrides])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    catalogue = generate(num_users=120, num_items=60, num_interactions=1500)
    (folder / "twotower.toml").write_text(write(catalogue, folder), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def done(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compare(config_of(shop), tmp_path_factory.mktemp("out") / "c", models=MODELS)


def row(comparison: Comparison, name: str) -> dict[str, Any]:
    return comparison.frame.row(by_predicate=pl.col("name") == name, named=True)


def model(comparison: Comparison, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(m for m in comparison.document["models"] if m["name"] == name)
    return found


# --- what is found ------------------------------------------------------------------------------


def test_all_models_are_there_best_first(done: Comparison) -> None:
    assert set(done.frame["name"]) == set(MODELS)
    assert done.frame["ndcg@5"].is_sorted(descending=True)
    assert done.frame["failure"].null_count() == len(MODELS)
    assert not done.interrupted
    assert done.verdict.startswith(
        ("No statistically significant winner: ", "Matrix", "Two-tower", "EASE")
    )


def test_a_notebook_shows_the_verdict_and_a_row_per_model(done: Comparison) -> None:
    assert repr(done) == (
        f"Comparison({len(MODELS)} models by ndcg@5, best: {done.document['models'][0]['title']}, "
        f"folder={str(done.folder)!r})"
    )
    shown = done._repr_html_()
    assert f"<p>{html.escape(done.verdict)}</p>" in shown
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', shown)
    assert rows == [
        (html.escape(title), f"{ndcg:.4f}")
        for title, ndcg in done.frame.select("title", "ndcg@5").rows()
    ]


def test_the_frame_and_the_file_hold_the_same_numbers(done: Comparison) -> None:
    kept = json.loads((done.folder / "comparison.json").read_text(encoding="utf-8"))
    assert kept == done.document
    for told in kept["models"]:
        found = row(done, told["name"])
        for metric, figure in told["metrics"].items():
            assert found[metric] == figure["mean"]
            assert found[f"{metric}_low"] == figure["low"] <= figure["mean"]
            assert found[f"{metric}_high"] == figure["high"] >= figure["mean"]
        for part, figures in told["slices"].items():
            for metric in ("ndcg@5", "recall@5"):
                assert found[f"{metric}_{part}"] == figures[metric]["mean"]
                assert found[f"{metric}_{part}_high"] == figures[metric]["high"]
        for part, test in told["tests"].items():
            end = "" if part == "all" else f"_{part}"
            assert found[f"difference{end}"] == test["difference"]
            assert found[f"difference{end}_low"] == test["low"]
            assert found[f"p_holm{end}"] == test["p_holm"]
        for place, figure in enumerate(told["buckets"]):
            assert found[f"recall@5_bucket_{place}"] == figure["mean"]
        points = done.curves.filter(pl.col("name") == told["name"])
        assert points["metric"].to_list() == [point["metric"] for point in told["curve"]]
        assert found["train_seconds"] == told["train_seconds"] > 0
        assert found["milliseconds_p50"] == told["milliseconds"]["p50"] > 0
        assert found["peak_memory_mb"] > found["memory_mb"] >= 0
        assert found["parameters"] == told["parameters"] > 0


def test_the_reference_is_the_factorization_that_validation_chose(done: Comparison) -> None:
    those = done.frame.filter(pl.col("family") == "matrix_factorization")
    assert set(those["name"]) == {"ials", "two_tower_ids"}
    chosen = those.sort("validation", descending=True)["name"][0]
    assert done.document["reference"] == chosen
    assert done.frame.filter("is_reference")["name"].to_list() == [chosen]
    assert row(done, chosen)["p_value"] is None


def test_every_model_had_the_same_budget(done: Comparison) -> None:
    trials = {name: model(done, name)["num_trials"] for name in MODELS}
    assert trials == dict.fromkeys(MODELS, 2) | {"popularity": 1}
    assert done.document["budget"] == {"trials": 2, "seconds": 600.0, "search": "tpe", "seed": 0}


def test_figures_are_those_of_the_kept_answers(done: Comparison, shop: Path) -> None:
    """Metrics and tests from the files, by another way than the comparison takes."""
    dataset = Dataset.read(config_of(shop))
    values = {}
    for name in ("ease", done.document["reference"]):
        answers = pl.read_parquet(done.folder / name / "answers.parquet").sort("user_num")
        relevant = dataset.test.by_user().take(answers["user_num"].to_numpy())
        ranked = answers["item_nums"].to_numpy()
        seen = dataset.train.append(dataset.validation).by_user()
        for user_num, items in zip(answers["user_num"], ranked, strict=True):
            assert not set(items) & set(seen[user_num].tolist())
        values[name] = ranking_metrics(ranked, relevant, 5)["ndcg@5"]
        assert row(done, name)["ndcg@5"] == pytest.approx(values[name].mean())
    gaps = values["ease"] - values[done.document["reference"]]
    assert row(done, "ease")["difference"] == pytest.approx(gaps.mean())
    assert row(done, "ease")["p_value"] == pytest.approx(paired_p_value(gaps))
    assert row(done, "ease")["p_holm"] >= row(done, "ease")["p_value"]


def test_slices_and_buckets_add_up(done: Comparison) -> None:
    for told in done.document["models"]:
        relevant = sum(part["num_relevant"] for part in told["slices"].values())
        assert relevant == done.document["rows"]["test"]
        assert len(told["buckets"]) == len(done.document["buckets"])
    assert sum(bucket["share"] for bucket in done.document["buckets"]) == pytest.approx(1.0)
    assert model(done, "popularity")["curve"] == []
    assert [point["epoch"] for point in model(done, "two_tower")["curve"]] == [1, 2]


@pytest.mark.parametrize("width", [80, 100, 250])
def test_the_terminal_says_the_same(done: Comparison, width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render_comparison(done.document, width))
    shown = console.export_text()
    assert done.verdict in re.sub(r"\s+", " ", shown)
    assert f"{row(done, 'ease')['ndcg@5']:.4f}" in shown
    assert shown.count("reference") == 1 + done.verdict.count("reference")
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    assert "answer" in shown
    assert ("interval" in shown) == (width > 80)
    assert ("cold user" in shown) == ("memory" in shown) == (width == 250)


def test_the_same_call_does_nothing_again(
    done: Comparison, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "run_contender", lambda *_: pytest.fail("it was done"))
    again = compare(config_of(shop, "compare.resamples=100"), done.folder, models=MODELS)
    assert again.frame["ndcg@5"].to_list() == done.frame["ndcg@5"].to_list()
    few = compare(config_of(shop), done.folder, models=("ease", "ials"))
    assert set(few.frame["name"]) == {"ease", "ials"}
    # Back to what the other tests look at.
    compare(config_of(shop), done.folder, models=MODELS)


def test_ids_alone_make_the_two_tower_a_factorization(shop: Path) -> None:
    bare = f'[data]\ninteractions = "{shop / "interactions.parquet"}"\n'
    (shop / "bare.toml").write_text(bare, encoding="utf-8")
    dataset = Dataset.read(load_config(shop / "bare.toml"))
    entered = {contender.name: contender.family for contender in select_contenders(dataset, ())}
    assert entered["two_tower"] == "matrix_factorization"
    assert not {"two_tower_linear", "factorization_machine", "ncf", "svd"} & set(entered)
    assert "recent_popularity" in entered
    with_features = select_contenders(Dataset.read(config_of(shop)), ())
    assert {c.name: c.family for c in with_features}["two_tower"] == "deep"


def test_nums_of_one_numbering_in_another(shop: Path) -> None:
    plain = Dataset.read(config_of(shop))
    other = Dataset.read(config_of(shop, "features.item.id.num_oov=4"))
    places = translate(other.items, plain.items)
    assert (places[: other.items.first_known] == -1).all()
    known = np.arange(other.items.first_known, len(other.items))
    assert (
        plain.items.ids.gather(places[known]).to_list() == other.items.ids.gather(known).to_list()
    )


@pytest.mark.slow
def test_every_model_runs_with_histories_contexts_and_a_ranker(tmp_path: Path) -> None:
    text = write(generate(num_users=80, num_items=40, num_interactions=780), tmp_path)
    more = '[features.user.history]\ntype = "history"\nencoder = "attention"\n[ranker]\n'
    head, mark, tail = text.partition("[features.user.age]")
    device = '[features.context.device]\ntype = "category"\n'
    whole = f"{head}{device}{mark}{tail}\n{more}"
    (tmp_path / "twotower.toml").write_text(whole, encoding="utf-8")
    quick = ("compare.trials=1", "training.epochs=1", "ranker.embedding_dim=8")
    config = config_of(tmp_path, *quick)
    names = tuple(contenders(config))
    found = compare(config, tmp_path / "c", models=names)
    assert found.document["failed"] == []
    assert set(found.frame["name"]) == set(names)
    assert len(names) == 17
    stages = model(found, "pipeline")["stages"]
    assert stages["pipeline"]["ndcg@5"] == pytest.approx(row(found, "pipeline")["ndcg@5"])
    assert 0 < stages["ceiling"][f"recall@{stages['num_candidates']}"] <= 1
    lift = row(found, "pipeline")["stages_lift_ndcg@5"]
    assert lift == stages["lift"]["ndcg@5"]
    assert row(found, "two_tower")["stages_lift_ndcg@5"] is None
    curve = model(found, "pipeline")["curve"]
    assert [point["epoch"] for point in curve] == [1, 2]
    assert curve[0]["seconds"] < curve[1]["seconds"]


# --- what can go wrong --------------------------------------------------------------------------


def test_k_larger_than_the_catalogue(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        compare(config_of(shop, "evaluation.k=61"), tmp_path / "c")
    assert str(raised.value) == (
        "evaluation.k exceeds the catalogue size of 60 items: every model would recommend the "
        "whole catalogue (found 61). Fix: set [evaluation] k to less than 60."
    )
    assert not (tmp_path / "c").exists()


def test_no_validation_part(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        compare(config_of(shop, "data.split.validation_fraction=0"), tmp_path / "c")
    assert str(raised.value) == (
        "a comparison tunes hyperparameters on a validation part, but there is none. Fix: set "
        "[data.split] validation_fraction above 0."
    )


def test_an_unknown_model(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        compare(config_of(shop), tmp_path / "c", models=("popularity", "two_towers"))
    assert str(raised.value).startswith(
        "unknown model 'two_towers', did you mean 'two_tower'? There are: popularity, "
        "recent_popularity, item_knn, ease, "
    )


def test_a_folder_of_something_else(shop: Path, done: Comparison, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        compare(config_of(shop), tmp_path)
    assert str(raised.value) == (
        f"{tmp_path}: is not empty and does not contain a comparison. Fix: choose a new folder "
        "with --out."
    )
    with pytest.raises(ConfigError) as raised:
        compare(config_of(shop, "training.seed=1"), done.folder)
    assert str(raised.value) == (
        f"{done.folder}: contains a comparison with different data, config or version. Fix: choose "
        "another folder with --out, or delete this one."
    )


def test_other_features_of_the_same_ids_are_another_comparison(shop: Path, tmp_path: Path) -> None:
    shutil.copytree(shop, tmp_path / "shop")
    config = config_of(tmp_path / "shop")
    compare(config, tmp_path / "out", models=("popularity",))
    items = pl.read_parquet(tmp_path / "shop" / "items.parquet")
    items = items.with_columns(pl.col("price").reverse())
    items.write_parquet(tmp_path / "shop" / "items.parquet")
    with pytest.raises(ConfigError, match="contains a comparison with different data"):
        compare(config, tmp_path / "out", models=("popularity",))


def test_the_first_two_are_tested_where_neither_is_the_reference(shop: Path) -> None:
    dataset = Dataset.read(config_of(shop))
    rng = np.random.default_rng(0)
    families = {"bpr_mf": "matrix_factorization", "ease": "linear", "ials": "matrix_factorization"}
    finished = {}
    for place, (name, family) in enumerate(families.items()):
        told = SimpleNamespace(per_query={"ndcg@5": rng.random(50) - 0.2 * place})
        entry = {"name": name, "family": family}
        finished[name] = FinishedModel(entry, cast("Evaluation", told))
    raw = {"bpr_mf": 0.001, "ease": 0.04}
    document = {
        "reference": "ials",
        "models": [
            {**one.entry, "tests": {"all": {"p_value": raw[name]}} if name in raw else {}}
            for name, one in finished.items()
        ],
    }
    found = first_two(document, finished, dataset)
    assert found is not None
    gap = (
        finished["bpr_mf"].evaluation.per_query["ndcg@5"]
        - finished["ease"].evaluation.per_query["ndcg@5"]
    )
    assert found["models"] == ["bpr_mf", "ease"]
    assert found["difference"] == pytest.approx(gap.mean())
    assert found["p_value"] == pytest.approx(paired_p_value(gap))
    assert found["p_holm"] == pytest.approx(holm(np.array([found["p_value"], 0.001, 0.04]))[0])
    assert first_two({**document, "reference": "bpr_mf"}, finished, dataset) is None


def test_a_test_part_that_nobody_can_be_ranked_for(shop: Path, tmp_path: Path) -> None:
    """Users that nothing is known of, ids alone: the ranker has not one candidate."""
    items = pl.read_parquet(shop / "items.parquet")["item_id"][:3]
    strangers = pl.DataFrame({"user_id": ["x1", "x2", "x2"], "item_id": items})
    strangers.write_parquet(tmp_path / "test.parquet")
    lines = [
        "[data]",
        f'interactions = "{shop / "interactions.parquet"}"',
        "[data.split]",
        'method = "given"',
        f'test = "{tmp_path / "test.parquet"}"',
        "[ranker]",
        "embedding_dim = 8",
    ]
    (tmp_path / "twotower.toml").write_text("\n".join(lines), encoding="utf-8")
    config = config_of(tmp_path, "training.epochs=1", "compare.trials=1")
    found = compare(config, tmp_path / "c", models=("popularity", "pipeline"))
    assert found.document["failed"] == []
    calibration = model(found, "pipeline")["stages"]["calibration"]
    assert (calibration["num_candidates"], calibration["brier_score"]) == (0, None)
    assert row(found, "pipeline")["stages_calibration_expected_calibration_error"] is None
    assert found.report.stat().st_size > 10_000


def test_one_test_user(shop: Path, tmp_path: Path) -> None:
    rows = pl.read_parquet(shop / "interactions.parquet")
    one = rows.filter(pl.col("user_id") == rows["user_id"][-1]).tail(2)
    one.write_parquet(tmp_path / "test.parquet")
    rows.join(one, on=["user_id", "item_id"], how="anti").write_parquet(tmp_path / "train.parquet")
    (tmp_path / "twotower.toml").write_text(
        '[data]\ninteractions = "train.parquet"\n[data.split]\nmethod = "given"\n'
        'test = "test.parquet"\n',
        encoding="utf-8",
    )
    found = compare(config_of(tmp_path), tmp_path / "c", models=("popularity", "ease", "ials"))
    assert found.document["num_queries"] == 1
    assert found.verdict.startswith("No statistically significant winner: ")
    assert found.verdict.endswith("The test part has only one user, so no conclusion can be drawn.")
    assert found.frame["significant"].drop_nulls().to_list() == [False, False]
    assert found.report.exists()


class Breaks:
    """A contender that goes wrong in its own way, put in among the others."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.calls = 0

    def train(self, dataset: Dataset, settings: Settings, monitor: Any, cache: Any) -> TrainedModel:
        del settings, monitor, cache
        self.calls += 1
        if self.calls == 2:
            raise self.error
        return select_contenders(dataset, ("popularity",))[0].train(dataset, {}, None, {})  # type: ignore[arg-type]


Break = Callable[[BaseException], Breaks]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Break:
    def put(error: BaseException) -> Breaks:
        breaks = Breaks(error)

        def chosen(dataset: Dataset, names: tuple[str, ...]) -> list[Contender]:
            first, *others = select_contenders(dataset, names)
            wrong = replace(first, name="wrong", title="Wrong <b>", train=breaks.train)
            return [first, wrong, *others]

        monkeypatch.setattr(module, "select_contenders", chosen)
        return breaks

    return put


def test_a_model_that_fails_midway_leaves_the_others(
    broken: Break, shop: Path, tmp_path: Path
) -> None:
    broken(RuntimeError("no <i>room</i> left"))
    found = compare(config_of(shop), tmp_path / "c", models=("popularity", "ease"))
    assert found.document["failed"] == [
        {
            "name": "wrong",
            "title": "Wrong <b>",
            "family": "popularity",
            "reason": "RuntimeError: no <i>room</i> left",
        }
    ]
    assert set(found.frame["name"]) == {"popularity", "ease", "wrong"}
    assert row(found, "wrong")["failure"] == "RuntimeError: no <i>room</i> left"
    assert row(found, "wrong")["ndcg@5"] is None
    assert "Failed and not ranked: Wrong <b>." in found.verdict
    page = found.report.read_text(encoding="utf-8")
    assert "Wrong &lt;b&gt;</strong>: RuntimeError: no &lt;i&gt;room&lt;/i&gt; left" in page
    assert "<i>room" not in page
    traceback = (tmp_path / "c" / "wrong" / "traceback.txt").read_text(encoding="utf-8")
    assert traceback.endswith("RuntimeError: no <i>room</i> left\n")
    # It is tried again, and its trial is not.
    assert (tmp_path / "c" / "wrong" / "trials.jsonl").exists()
    again = broken(RuntimeError("never"))
    again.calls = 5
    assert (
        compare(config_of(shop), tmp_path / "c", models=("popularity", "ease")).document["failed"]
        == []
    )
    assert again.calls == 6


def test_an_interrupted_comparison_goes_on(broken: Break, shop: Path, tmp_path: Path) -> None:
    breaks = broken(KeyboardInterrupt())
    models = ("popularity", "ease")
    found = compare(config_of(shop), tmp_path / "c", models=models)
    assert found.interrupted
    assert found.frame["name"].to_list() == ["popularity"]
    assert found.verdict.endswith(
        "Interrupted before Wrong <b>, EASE; run the same command again to continue."
    )
    went_on = compare(config_of(shop), tmp_path / "c", models=models)
    assert not went_on.interrupted
    assert set(went_on.frame["name"]) == {"popularity", "wrong", "ease"}
    assert breaks.calls == 3  # the trial before it, the training that was cut off, the training


def test_nothing_finished(broken: Break, shop: Path, tmp_path: Path) -> None:
    breaks = broken(KeyboardInterrupt())
    breaks.calls = 1

    def only_wrong(dataset: Dataset, names: tuple[str, ...]) -> list[Contender]:
        return [replace(select_contenders(dataset, ("ease",))[0], train=breaks.train)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "select_contenders", only_wrong)
        with pytest.raises(DataError) as raised:
            compare(config_of(shop), tmp_path / "c")
    assert str(raised.value) == (
        "no model of the comparison was finished; finished trials are kept, run the same command "
        "again to continue:\n  EASE did not finish"
    )


# --- processes of their own ---------------------------------------------------------------------


def test_in_processes_of_their_own(shop: Path, done: Comparison, tmp_path: Path) -> None:
    apart = compare(config_of(shop, "compare.isolate=true"), tmp_path / "c", models=("ease",))
    assert row(apart, "ease")["ndcg@5"] == row(done, "ease")["ndcg@5"]
    assert row(apart, "ease")["peak_memory_mb"] > 50
    assert apart.verdict.startswith("Only EASE was evaluated: ndcg@5 of ")


def test_a_log_larger_than_memory_is_read_once(
    shop: Path, done: Comparison, tmp_path: Path
) -> None:
    config = config_of(shop, "compare.isolate=true", "data.max_rows_in_memory=100")
    apart = compare(config, tmp_path / "c", models=("popularity",))
    assert row(apart, "popularity")["ndcg@5"] == row(done, "popularity")["ndcg@5"]
    kept = tmp_path / "c" / ".data" / "tables" / "manifest.json"
    written = kept.stat().st_mtime_ns
    compare(config, tmp_path / "c", models=("popularity", "ease"))
    assert kept.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "its process was killed (SIGKILL), most likely because the system ran out of memory",
        ),
        ("import os; os.abort()", "its process was terminated by SIGABRT"),
        ("raise SystemExit(3)", "its process exited with code 3"),
    ],
)
def test_a_process_that_dies_is_a_failure_of_its_model(
    program: str, reason: str, tmp_path: Path
) -> None:
    run_process([sys.executable, "-c", program], tmp_path / "own")
    failure = (tmp_path / "own" / "failure.json").read_text(encoding="utf-8")
    assert json.loads(failure) == {"reason": reason}


def test_a_process_that_was_interrupted(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_process([sys.executable, "-c", "raise SystemExit(130)"], tmp_path / "own")
    run_process([sys.executable, "-c", ""], tmp_path / "own")
    assert not (tmp_path / "own").exists()
