"""What a run says it is worth, on shops whose truth is planted."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import twotower as tt
from twotower.config import load_config
from twotower.data.dataset.dataset import Dataset
from twotower.evaluation.report import Evaluation
from twotower.models.baselines import BASELINES
from twotower.workflow.evaluate import evaluate
from twotower.workflow.evaluate_bundle import evaluate_bundle
from twotower.workflow.setup.check import check
from twotower.workflow.training import reference_models
from twotower.workflow.training.reference_models import (
    choose_references,
    fit_references,
    linear_models,
    memory_of,
    seconds_of,
    too_large,
    training_rows,
)
from twotower.workflow.training.train import train_bundle

DAY = 86_400
QUICK = ("retriever.embedding_dim=8", "training.epochs=2", "evaluation.k=5")


def write_shop(
    folder: Path,
    users: list[int],
    items: list[int],
    times: list[int] | None = None,
    **columns: object,
) -> Path:
    """A log as CSV and its config."""
    frame = pl.DataFrame({"user_id": users, "item_id": items, **columns})
    if times is not None:
        frame = frame.with_columns(timestamp=pl.Series(times))
    frame.write_csv(folder / "log.csv")
    (folder / "twotower.toml").write_text('[data]\ninteractions = "log.csv"\n', encoding="utf-8")
    return folder / "twotower.toml"


def trained(config: Path, *overrides: str) -> Evaluation:
    """Train into `bundle` beside the config; the evaluation of the outcome."""
    outcome = train_bundle(
        load_config(config, [*QUICK, *overrides]),
        config.parent / "bundle",
        console=Console(file=StringIO()),
    )
    assert outcome.evaluation is not None
    return outcome.evaluation


def popular_shop(folder: Path) -> Path:
    """300 users who take items by nothing but how popular they are: item i with weight 1 / i."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, 101)
    users, items = [], []
    for user in range(300):
        users += [user] * 12
        items += rng.choice(100, 12, replace=False, p=weights / weights.sum()).tolist()
    return write_shop(folder, users, items)


def test_where_popularity_wins_the_verdict_says_so(tmp_path: Path) -> None:
    # A model that learns nothing.
    nothing = ("training.learning_rate=1e-9", "retriever.blend=false")
    found = trained(popular_shop(tmp_path), *nothing)
    ours, theirs = (e.metrics["ndcg@5"] for e in (found, found.baselines["popularity"]))
    assert ours < 0.5 * theirs
    assert set(found.baselines) in ({"popularity", "ease"}, {"popularity", "item_knn"})
    best = max(e.metrics["ndcg@5"] for e in found.baselines.values())
    below, figures = f"{100 * (1 - ours / best):.0f}% below ", f"{ours:.4f} against {best:.4f}"
    assert found.verdict.startswith(f"The model is {below}")
    assert f"(ndcg@5 {figures.replace('0.', '.')}, p < 0.001)" in found.verdict
    assert "popularity" in found.verdict
    assert found.verdict.endswith("`twotower compare` tunes models on the same rows.")


def test_the_blend_is_the_floor_of_a_model_that_learns_nothing(tmp_path: Path) -> None:
    found = trained(popular_shop(tmp_path), "training.learning_rate=1e-9")
    ours, theirs = (e.metrics["ndcg@5"] for e in (found, found.baselines["popularity"]))
    assert ours > 0.97 * theirs
    assert any(note.startswith("The answers blend the towers (") for note in found.notes)


def test_where_the_model_wins_the_verdict_says_so(tmp_path: Path) -> None:
    """Users of four teams take the items of their team; users of the test part are new, so that
    only who reads the team can answer them."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(240), 5)
    items = np.concatenate([u % 4 * 10 + rng.choice(10, 5, replace=False) for u in range(240)])
    config = write_shop(tmp_path, users.tolist(), items.tolist(), (users * DAY).tolist())
    pl.DataFrame(
        {"user_id": range(240), "team": [f"t{user % 4}" for user in range(240)]}
    ).write_csv(tmp_path / "users.csv")
    with config.open("a", encoding="utf-8") as file:
        file.write('users = "users.csv"\n[features.user.team]\ntype = "category"\n')
    found = trained(config, "training.epochs=20", "retriever.embedding_dim=16")
    assert found.paths["features"] == len(found.user_num)
    assert found.verdict.startswith("The model is ")
    assert "% above " in found.verdict
    assert ", the best baseline (ndcg@5 ." in found.verdict
    assert set(found.baselines) >= {"popularity", "recent_popularity"}
    assert "Try" not in found.verdict


def sessions(folder: Path) -> Path:
    """200 sessions of 4 clicks, one after the other: no test session is known to training."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(200), 4)
    return write_shop(
        folder,
        users.tolist(),
        np.concatenate([rng.choice(30, 4, replace=False) for _ in range(200)]).tolist(),
        (np.arange(len(users)) * 600).tolist(),
    )


def test_sessions_that_training_does_not_know(tmp_path: Path) -> None:
    config = sessions(tmp_path)
    note = (
        "Most test users are not in the training data (20 of 20, 100%), and 100% of the users "
        "are answered by popularity or by features alone: the metrics measure this fallback, not "
        'what the model learned about its users. [data.split] method = "last_out" is a better fit: '
        "it tests the last interactions of each user."
    )
    assert note in check(config).notes
    assert trained(config).cautions == [note]
    assert evaluate_bundle(tmp_path / "bundle").cautions == [note]
    fitting = "data.split.method='last_out'"
    assert not any("Most test users" in note for note in check(config, [fitting]).notes)
    assert trained(config, fitting).cautions == []


def test_items_that_training_does_not_know(tmp_path: Path) -> None:
    """Each day has items of its own: what is tested on the last days is unknown."""
    users, days = list(range(20)) * 10, np.repeat(np.arange(10), 20)
    items = (days * 5 + np.arange(200) % 5).tolist()
    config = write_shop(tmp_path, users, items, (days * DAY).tolist())
    note = (
        "Most test rows have items that are not in the training data (20 of 20, 100%): the "
        "metrics measure how well new items are found, not what the model learned about the "
        'others. [data.split] method = "last_out" is a better fit: it tests the last interactions '
        "of each user."
    )
    assert note in check(config).notes


def test_the_ceiling_of_a_log_with_repeats(tmp_path: Path) -> None:
    """10 users take items 0 to 9; the last row of users 0 to 5 repeats their first, that of user 6
    is of an item that is nowhere else, the others' is new to them. Of 10 queries 3 can be answered.
    """
    users, items, times = [], [], []
    for user in range(10):
        last = user if user < 6 else 99 if user == 6 else (user + 4) % 10
        taken = [user, (user + 1) % 10, (user + 2) % 10, last]
        users += [user] * 4
        items += taken
        times += [DAY * place + user for place in range(4)]
    config = write_shop(tmp_path, users, items, times)
    last_out = "data.split.method='last_out'"
    note = (
        "Upper bound: recall@5 0.3000 instead of 1.0000 and "
        "ndcg@5 0.3000 instead of 1.0000, because 6 of 10 test rows (60%) repeat an item that "
        "the user had already seen, which is masked, and 1 of 10 test rows (10%) have items "
        "outside the catalogue. Set evaluation.mask_seen = false to recommend seen items again."
    )
    assert note in check(config, [last_out, "evaluation.k=5"]).notes
    found = trained(config, last_out)
    assert found.cautions == [note]
    assert found.to_json()["ceiling"] == {"recall@5": 0.3, "ndcg@5": 0.3}
    assert all(e.metrics["recall@5"] <= 0.3 for e in (found, *found.baselines.values()))
    shown = trained(config, last_out, "evaluation.mask_seen=false")
    assert shown.cautions == [
        "Upper bound: recall@5 0.9000 instead of 1.0000 and "
        "ndcg@5 0.9000 instead of 1.0000, because 1 of 10 test rows (10%) have items outside the "
        "catalogue."
    ]


# --- one path for both verbs ------------------------------------------------------------------


def weighted_shop(folder: Path) -> Path:
    """60 users, 30 items, weights and times."""
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(60), 8).tolist()
    items = np.concatenate([rng.choice(30, 8, replace=False) for _ in range(60)]).tolist()
    weights = rng.choice([1.0, 2.0, 5.0], len(users)).tolist()
    times = (rng.permutation(len(users)) * DAY // 4).tolist()
    return write_shop(folder, users, items, times, weight=weights)


@pytest.mark.parametrize("refit", ["none", "train"])
def test_evaluate_finds_what_train_found(tmp_path: Path, refit: str) -> None:
    found = trained(weighted_shop(tmp_path), f"training.refit={refit}").to_json()
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    assert evaluate_bundle(tmp_path / "bundle").to_json() == found == manifest["metrics"]
    settings = found["baseline_settings"]
    assert list(found["baselines"]) == ["popularity", "recent_popularity", settings["linear"]]
    assert settings["half_life_days"] in (1, 7, 30, 180)
    assert found["split"] == "global_time"


def test_baselines_learn_from_the_rows_that_the_model_learned_from(tmp_path: Path) -> None:
    config = weighted_shop(tmp_path)
    trained(config)
    data = Dataset.read(load_config(config))
    loaded = tt.Recommender.load(tmp_path / "bundle")
    rows = training_rows(loaded)
    assert len(rows) == len(data.train) < len(loaded.seen.values)

    def table(part: tt.Interactions) -> list[tuple[float, ...]]:
        assert part.timestamp is not None
        return sorted(zip(part.user_num, part.item_num, part.weight, part.timestamp, strict=True))

    assert table(rows) == table(data.train)
    for name in ("popularity", "recent_popularity"):
        own, theirs = (BASELINES[name].fit(part) for part in (rows, data.train))
        np.testing.assert_allclose(own.fallback.weights, theirs.fallback.weights)


def test_a_bundle_that_does_not_say_what_it_learned_from(tmp_path: Path) -> None:
    """As one that was saved by hand, or by an earlier version: all events were learned from."""
    data = Dataset.read(load_config(weighted_shop(tmp_path), QUICK))
    model = tt.TwoTower(data.config.retriever, data.schema)
    recommender = tt.Recommender.build(model, data.train, data.config)
    recommender.save(tmp_path / "bundle", heldout=data.parts.test)
    found = evaluate_bundle(tmp_path / "bundle")
    assert len(training_rows(tt.Recommender.load(tmp_path / "bundle"))) == len(data.train)
    assert found.baseline_settings == {"half_life_days": 30.0, "linear": "ease"}


# --- what is chosen, what is left out ---------------------------------------------------------


def dataset(folder: Path, write: Callable[[Path], Path]) -> Dataset:
    return Dataset.read(load_config(write(folder)))


def turning_shop(folder: Path) -> Path:
    """Items 0 to 9 are all the rage for 300 days, then items 10 to 19; users come once or twice."""
    days = np.sort(np.random.default_rng(2).integers(310, size=2_000))
    items = np.where(days < 300, 0, 10) + np.arange(2_000) % 10
    return write_shop(
        folder, (np.arange(2_000) % 900).tolist(), items.tolist(), (days * DAY).tolist()
    )


def chosen(data: Dataset) -> reference_models.References:
    return choose_references(data.train, data.validation, queries=50, k=5, mask_seen=False, seed=0)


def test_validation_chooses_the_half_life(tmp_path: Path) -> None:
    overrides = ["data.split.test_fraction=0.01", "data.split.validation_fraction=0.01"]
    data = Dataset.read(load_config(turning_shop(tmp_path), overrides))
    assert chosen(data).settings["half_life_days"] == 1.0


def test_validation_chooses_the_linear_model(tmp_path: Path) -> None:
    data = dataset(tmp_path, popular_shop)
    part = data.validation
    figures = {
        name: evaluate(BASELINES[name].fit(data.train), part, k=5, mask_seen=False).metrics[
            "ndcg@5"
        ]
        for name in ("item_knn", "ease")
    }
    references = chosen(data)
    assert references.settings["linear"] == max(figures, key=lambda name: figures[name])
    assert list(references.models) == ["popularity", references.settings["linear"]]


def test_which_linear_models_are_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = dataset(tmp_path, popular_shop).train
    monkeypatch.setattr(reference_models, "SECONDS_A_ROW", 0)
    assert linear_models(rows, queries=10) == (("item_knn", "ease"), "")
    monkeypatch.setattr(reference_models, "QUICK_SIMILARITIES", 10)
    assert linear_models(rows, queries=10) == (("ease",), "")
    monkeypatch.setattr(reference_models, "MAX_EASE_ITEMS", 10)
    assert linear_models(rows, queries=10) == (("item_knn",), "")
    monkeypatch.setattr(reference_models, "MAX_PAIRS", 10)
    names, note = linear_models(rows, queries=10)
    pairs = float((rows.by_user().lengths.astype(float) ** 2).sum())
    assert names == ()
    assert note == (
        f"No linear baseline (item-kNN, EASE) was fitted: {rows.items.num_warm} items and "
        f"{pairs:.1g} pairs of items of one user would take too much of a training's time, or of "
        "memory. `twotower compare` fits them."
    )
    left_out = fit_references(rows, {"linear": "ease", "half_life_days": None}, queries=10)
    assert list(left_out.models) == ["popularity"]
    assert (left_out.settings["linear"], left_out.note) == (None, note)


def test_more_rows_are_worth_a_slower_linear_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = dataset(tmp_path, popular_shop).train
    for limit in ("MAX_EASE_ITEMS", "MAX_PAIRS", "MAX_SIMILARITIES", "SECONDS_A_ROW"):
        monkeypatch.setattr(reference_models, limit, 0)
    assert linear_models(rows, queries=10)[0] == ()
    lengths = rows.by_user().lengths.astype(float)
    items = rows.items.num_warm
    pairs = float((lengths**2).sum())
    length = len(rows) / rows.users.end_warm
    seconds = seconds_of(pairs, min(pairs, items**2), items, 10, length)
    slow, fast = sorted(seconds, key=lambda name: -seconds[name])
    a_row = (seconds[slow] + seconds[fast]) / 2 / len(rows)
    monkeypatch.setattr(reference_models, "SECONDS_A_ROW", a_row)
    assert linear_models(rows, queries=10) == ((fast,), "")
    monkeypatch.setattr(reference_models, "SECONDS_A_ROW", 2 * a_row)
    assert linear_models(rows, queries=10) == (("item_knn", "ease"), "")
    monkeypatch.setattr(reference_models, "MAX_KEPT", 10)
    assert linear_models(rows, queries=10) == (("ease",), "")


def test_a_linear_model_that_does_not_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = dataset(tmp_path, popular_shop).train
    monkeypatch.setattr(reference_models, "BLOCK_BYTES", 10**15)
    names, note = linear_models(rows, queries=10)
    assert names == ()
    assert note.startswith(
        "No linear baseline (item-kNN, EASE) was fitted: it needs 1000000.0 GB of memory, and "
    )


def test_an_earlier_choice_that_does_not_fit_into_memory_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = dataset(tmp_path, popular_shop).train
    needed = memory_of(rows)
    assert needed["ease"] != needed["item_knn"]
    large, small = sorted(needed, key=lambda name: -needed[name])
    between = (needed["ease"] + needed["item_knn"]) / 2
    monkeypatch.setattr(reference_models, "free_memory", lambda: between)
    earlier = {"half_life_days": None}
    assert small in fit_references(rows, {"linear": small, **earlier}, queries=10).models
    refused = fit_references(rows, {"linear": large, **earlier}, queries=10)
    assert list(refused.models) == ["popularity"]
    assert refused.note == too_large(needed[large], between)
