"""The floor under the towers: what validation chooses, and what is served by it."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import twotower as tt
from twotower.atomic import MANIFEST
from twotower.data.dataset.dataset import Dataset
from twotower.data.synthetic.shop import generate
from twotower.models.blend import Blend
from twotower.serving.answer.overlaid_model import OverlaidModel, PreparedModel
from twotower.serving.answer.recommender import Recommender
from twotower.serving.answer.requests import AnswerRequest, HistoryItem
from twotower.serving.answer.resolve_request import queries_of, resolve
from twotower.serving.bundle.candidate_blend import Weighing
from twotower.workflow.evaluate import evaluate
from twotower.workflow.training import fit_blend, reference_models
from twotower.workflow.training.train import Trained, fit_stages, train_bundle
from twotower.workflow.training.validation import halves

DAY = 86_400


def quiet() -> Console:
    return Console(file=StringIO())


def shop(folder: Path, *, users: int = 200, trends: bool = False, items_toml: str = "") -> Path:
    """Users of four tastes who take 8 of the 15 items of theirs; with trends, everybody takes what
    is new in the week."""
    rng = np.random.default_rng(0)
    rows: list[tuple[str, str, int]] = []
    for user in range(users):
        for place, item in enumerate(rng.permutation(15)[:8]):
            time = (user * 7 + place) * DAY // 4
            name = f"i{user % 4}-{item}"
            if trends and rng.random() < 0.8:
                name = f"week{time // (7 * DAY)}-{rng.integers(4)}"
            rows.append((f"u{user}", name, 1_600_000_000 + time))
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    frame.write_parquet(folder / "rows.parquet")
    config = folder / "twotower.toml"
    config.write_text(f'[data]\ninteractions = "rows.parquet"\n{items_toml}', encoding="utf-8")
    return config


def trained(config: Path, *overrides: str) -> tuple[Dataset, Trained]:
    settings = ("training.epochs=3", "retriever.embedding_dim=8", *overrides)
    dataset = Dataset.read(tt.load_config(config, list(settings)))
    return dataset, fit_stages(dataset, None, console=quiet())


def report(found: Trained) -> dict[str, Any]:
    blend = found.recommender.served.blend
    assert blend is not None
    return dict(blend.report)


def test_towers_that_learned_nothing_are_carried_by_the_baselines(tmp_path: Path) -> None:
    config = shop(tmp_path)
    dataset, found = trained(config, "training.learning_rate=1e-9", 'data.split.method="random"')
    told = report(found)
    assert told["shares"]["towers"] < 0.1
    assert told["linear"] in ("ease", "item_knn")
    best = max(figure for name, figure in told["validation"].items() if name != "blend")
    assert told["validation"]["blend"] >= best - 1e-9
    assert told["validation"]["blend"] > 2 * told["validation"]["towers"]
    assert any("The towers add next to nothing" in note for note in found.notes)
    measured = evaluate(found.recommender, dataset.test)
    assert measured.notes[0].startswith("The answers blend the towers (")


def test_recent_popularity_answers_where_taste_is_of_the_week(tmp_path: Path) -> None:
    _, found = trained(shop(tmp_path, trends=True))
    told = report(found)
    assert told["popularity"] == "recent_popularity"
    assert told["half_life_days"] in (1.0, 7.0)
    served = found.recommender.served
    assert served.blend is not None
    newest = served.items.ids.gather(np.argsort(-served.popularity.weights)[:3])
    answers = found.recommender.recommend("nobody knows me", k=3)
    assert answers.path == "popular"
    assert [item.item_id for item in answers.items] == newest.to_list()


def test_few_validation_users_make_small_weights(tmp_path: Path) -> None:
    log = ('data.split.method="random"', "retriever.temperature=0.1", "training.learning_rate=0.01")
    _, many = trained(shop(tmp_path), *log)
    _, few = trained(shop(tmp_path, users=12), *log)
    assert report(few)["validation"]["blend"] >= 0
    largest = [max(report(one)["weights"].values()) for one in (few, many)]
    assert largest[0] < largest[1]


def test_a_bundle_keeps_the_blend_and_a_refit_its_weights(tmp_path: Path) -> None:
    config = shop(tmp_path)
    more = ["training.epochs=3", "retriever.embedding_dim=8", 'training.refit="train"']
    train_bundle(tt.load_config(config, more), tmp_path / "bundle", console=quiet())
    loaded = Recommender.load(tmp_path / "bundle")
    blend = loaded.served.blend
    assert blend is not None
    manifest = json.loads((tmp_path / "bundle" / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["blend"] == dict(blend.report)
    assert blend.usual.blend.weights == manifest["blend"]["weights"]
    assert loaded.served.stage_names == ("retrieve", "blend")
    answer = loaded.recommend("u1", k=5)
    assert {"retrieve", "blend"} <= set(answer.items[0].stage_scores)
    assert answer.items[0].score == answer.items[0].stage_scores["blend"]


def test_the_saved_blend_answers_as_the_fitted_one(tmp_path: Path) -> None:
    _, found = trained(shop(tmp_path), 'data.split.method="random"')
    found.recommender.save(tmp_path / "bundle")
    loaded = Recommender.load(tmp_path / "bundle")
    for user in ("u0", "u1", "u7", "nobody"):
        one, other = (r.recommend(user, k=10) for r in (found.recommender, loaded))
        assert one == replace(other, seconds=one.seconds)


def test_a_user_without_a_vector_is_answered_by_what_was_taken(tmp_path: Path) -> None:
    """The towers know ids only; item neighbours read the history of somebody new."""
    _, found = trained(shop(tmp_path), 'data.split.method="random"')
    answer = found.recommender.recommend_invented(
        pl.DataFrame({"nothing": [None]}), k=5, histories=[["i2-0", "i2-1", "i2-2"]]
    )[0]
    assert answer.path == "history"
    assert sum(str(item.item_id).startswith("i2-") for item in answer.items) >= 4


def test_features_alone_are_weighed_for_themselves(tmp_path: Path) -> None:
    """Of a user with events the neighbours know most; of a new one only the tower knows anything,
    and must not be outvoted by popularity."""
    config = shop(tmp_path)
    with config.open("a", encoding="utf-8") as file:
        file.write('users = "users.csv"\n[features.user.team]\ntype = "category"\n')
    teams = pl.DataFrame(
        {"user_id": [f"u{user}" for user in range(200)], "team": [f"t{u % 4}" for u in range(200)]}
    )
    teams.write_csv(tmp_path / "users.csv")
    more = ('data.split.method="random"', "training.epochs=20")
    _, found = trained(config, *more)
    for team in range(4):
        answer = found.recommender.recommend_invented(pl.DataFrame({"team": [f"t{team}"]}), k=5)[0]
        assert answer.path == "features"
        assert all(str(item.item_id).startswith(f"i{team}-") for item in answer.items)


def test_without_a_validation_part_or_by_config_the_towers_stand_alone(tmp_path: Path) -> None:
    config = shop(tmp_path)
    for override in ("data.split.validation_fraction=0", "retriever.blend=false"):
        _, found = trained(config, override)
        assert found.recommender.served.blend is None
        assert found.recommender.served.stage_names == ("retrieve",)


def test_filters_exclusions_and_batches_hold_for_all_sources(tmp_path: Path) -> None:
    dataset, found = trained(shop(tmp_path), 'data.split.method="random"')
    recommender, users = found.recommender, np.arange(2, 40)
    every = recommender.top_k(users, 20)
    allowed = np.zeros(len(dataset.items), dtype=np.bool_)
    allowed[10:30] = True
    kept = recommender.top_k(users, 20, allowed=allowed)
    inside = kept.item_nums[kept.item_nums >= 0]
    assert ((inside >= 10) & (inside < 30)).all()
    for row, user in enumerate(users):
        one = recommender.top_k(np.array([user]), 20)
        assert one.item_nums[0].tolist() == every.item_nums[row].tolist()
        seen = set(recommender.seen[int(user)].tolist())
        assert not seen & set(every.item_nums[row].tolist())


def test_no_baseline_may_be_better_on_validation(tmp_path: Path) -> None:
    """Weights that are most likely can rank worse than one source: then that one has more say."""
    _, found = trained(shop(tmp_path, trends=True), "training.learning_rate=1e-9")
    told = report(found)
    sources = (told["popularity"], told["linear"])
    assert all(
        told["validation"]["blend"] >= told["validation"][name] - 1e-6
        for name in sources
        if name is not None
    )


@pytest.mark.parametrize(
    ("linear", "rows", "worth", "kept"),
    [
        ("item_knn", 0, 9.0, False),
        ("item_knn", 0, 0.0, True),
        ("item_knn", 10**6, 9.0, True),
        ("ease", 0, 9.0, True),
    ],
)
def test_item_knn_that_adds_little_on_much_data_has_no_say_for_known_users(
    linear: str,
    rows: int,
    worth: float,
    kept: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fit_blend, "MANY_ROWS", rows)
    monkeypatch.setattr(fit_blend, "WORTH", worth)
    monkeypatch.setattr(reference_models, "linear_models", lambda *_: ((linear,), ""))
    rows_of_shop = generate(num_users=300, num_items=120, num_interactions=6000).interactions
    rows_of_shop.select("user_id", "item_id", "timestamp").write_parquet(tmp_path / "rows.parquet")
    config = tmp_path / "twotower.toml"
    config.write_text('[data]\ninteractions = "rows.parquet"\n', encoding="utf-8")
    _, found = trained(config, "training.epochs=30", "retriever.embedding_dim=32")
    blend = found.recommender.served.blend
    assert blend is not None
    assert blend.usual.blend["towers"] > 0
    assert (blend.usual.blend["neighbours"] > 0) is kept
    assert blend.unknown_users.blend["neighbours"] > 0
    assert any("too little to have a say" in note for note in found.notes) is not kept
    told = report(found)
    assert (told["shares"]["neighbours"] > 0) is kept
    figures = {name: told["validation"][name] for name in (told["popularity"], told["linear"])}
    assert told["validation"]["blend"] >= max(figures.values())


@pytest.mark.parametrize(
    ("reached", "without", "said"), [(0.0, 0.0, []), (0.2, 0.2, ["0.0%"]), (0.2, 0.201, ["0.0%"])]
)
def test_what_item_knn_adds_to_nothing(reached: float, without: float, said: list[str]) -> None:
    scores = np.array([[1.0, 0.0]], dtype=np.float32)
    asked = fit_blend.BlendQueries(
        np.array([[1, 2]]),
        None,
        {"towers": scores, "neighbours": scores, "popularity": scores},
        np.array([[1.0, 0.0]], dtype=np.float32),
        np.array([1]),
        20,
    )
    weights = Blend({"towers": 1.0, "neighbours": 1.0, "popularity": 0.0})
    references = reference_models.References({}, {}, {"item_knn": 0.0, "popularity": 0.0})
    found, _, notes = fit_blend.spared(weights, reached, asked, references, lambda _: without)
    assert [note.split()[2] for note in notes] == said
    assert (found["neighbours"] > 0) is not bool(said)


def test_item_knn_stays_where_towers_without_it_are_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_models, "linear_models", lambda *_: (("item_knn",), ""))
    monkeypatch.setattr(fit_blend, "MANY_ROWS", 0)
    monkeypatch.setattr(fit_blend, "WORTH", 9.0)
    _, found = trained(shop(tmp_path), "training.learning_rate=1e-9", 'data.split.method="random"')
    assert report(found)["shares"]["neighbours"] > 0


def test_the_python_call_needs_a_validation_part(tmp_path: Path) -> None:
    dataset, found = trained(shop(tmp_path))
    with pytest.raises(tt.DataError, match="chosen on validation rows"):
        tt.fit_blend(
            found.recommender.served.towers, dataset.train, dataset.train.take(np.arange(0))
        )


def test_shares_of_nothing() -> None:
    assert Blend({}).shares({"towers": 1.0}) == {"towers": 0.0}


def test_users_whom_the_towers_do_not_know_have_weights_of_their_own(tmp_path: Path) -> None:
    """Towers that read ids alone fold other users in."""
    log = ('data.split.method="random"', "training.epochs=20", "training.learning_rate=0.05")
    _, found = trained(shop(tmp_path), *log)
    served = found.recommender.served
    blend = served.blend
    assert blend is not None
    known, unknown = blend.usual.blend.weights, blend.unknown_users.blend.weights
    assert unknown["towers"] > 0
    assert unknown != known
    histories = [[f"i{taste}-{item}" for item in (1, 5, 9)] for taste in range(4)]
    nobody = pl.DataFrame({"user_id": [f"new{taste}" for taste in range(4)]})
    alone = replace(blend, unknown_users=Weighing(Blend({"towers": 1.0})))
    for recommender in (found.recommender, Recommender(replace(served, blend=alone))):
        answers = recommender.recommend_invented(nobody, histories=histories, k=10)
        for taste, answer in enumerate(answers):
            assert {str(item.item_id).split("-")[0] for item in answer.items} == {f"i{taste}"}


def test_strangers_are_asked_with_the_older_half_of_their_rows(tmp_path: Path) -> None:
    """Validation of the newest rows holds users whom training has not seen: item neighbours know
    what they take next; the towers have no row of them."""
    rows = pl.read_parquet(shop_of_strangers(tmp_path) / "rows.parquet")
    config = tmp_path / "twotower.toml"
    dataset, found = trained(config, "training.epochs=1")
    warm = dataset.users.is_warm(dataset.validation.user_num)
    assert not warm.any(), "every user has all rows within an hour"
    assert len(rows) == 8 * 200
    blend = found.recommender.served.blend
    assert blend is not None
    unknown = blend.unknown_users.blend.weights
    assert unknown["neighbours"] > 2 * unknown["popularity"]
    known, later = halves(dataset.validation.histories())
    assert known.items.lengths.max() == 4
    np.testing.assert_array_equal(
        known.items.lengths + later.lengths, dataset.validation.by_user().lengths
    )
    user = int(np.flatnonzero(later.lengths)[0])
    assert [*known.items[user], *later[user]] == dataset.validation.by_user()[user].tolist()


def shop_of_strangers(folder: Path) -> Path:
    """The shop of users who come one after the other, each with a visit of an hour."""
    shop(folder)
    rows = pl.read_parquet(folder / "rows.parquet")
    number = pl.col("user_id").str.slice(1).cast(pl.Int64)
    place = pl.int_range(pl.len()).over("user_id")
    times = 1_600_000_000 + number * DAY + place * 400
    rows.with_columns(timestamp=times).write_parquet(folder / "rows.parquet")
    return folder


def test_towers_that_cannot_read_the_newest_items_count_for_less(tmp_path: Path) -> None:
    config = shop(tmp_path)
    last_out = 'data.split.method="last_out"'
    dataset, found = trained(config, last_out, "training.learning_rate=0.05", "training.epochs=10")
    served = found.recommender.served
    users = np.arange(2, 40)
    blend = served.blend
    assert blend is not None
    assert (served.learned_lengths[users] == dataset.train.by_user().lengths[users]).all()
    asked = served.queries_of(users, {})
    assert asked.has_newer is not None
    assert asked.has_newer.all(), "the rows of the validation part"
    for name in ("towers", "neighbours", "popularity"):
        both = [one.blend[name] for one in (blend.usual, blend.unknown_users)]
        assert blend.by_kind[3].blend[name] == pytest.approx(sum(both) / 2)
    halfway = replace(blend, usual=blend.by_kind[3], unknown_users=blend.by_kind[3])
    one, other = (
        Recommender(replace(served, blend=made)).top_k(users, 10) for made in (blend, halfway)
    )
    np.testing.assert_array_equal(one.item_nums, other.item_nums)
    learned = replace(served, histories=replace(served.histories, learned=None))
    usual = learned.queries_of(users, {})
    assert usual.has_newer is not None
    assert not usual.has_newer.any()


def test_towers_that_read_a_history_have_read_the_newest_items(tmp_path: Path) -> None:
    config = shop(tmp_path)
    history = 'features.user.history={type="history", encoder="mean"}'
    _, found = trained(config, 'data.split.method="last_out"', history)
    assert found.recommender.served.queries_of(np.arange(2, 9), {}).has_newer is None


def test_a_new_event_makes_a_user_one_with_newer_items(tmp_path: Path) -> None:
    _, found = trained(shop(tmp_path), "data.split.validation_fraction=0.01")
    model = OverlaidModel.of(PreparedModel(found.recommender.served))
    history = (HistoryItem("i1-1"), HistoryItem("i1-2"))
    asked = [AnswerRequest("u0"), AnswerRequest("u0", history=history), AnswerRequest("nobody")]
    found_newer = queries_of([resolve(one, model) for one in asked], model).has_newer
    assert found_newer is not None
    assert found_newer.tolist() == [False, True, False]
