"""New items in the answers: how they are scored is chosen, kept, and the same at every entrance."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import twotower as tt
from twotower.config import IndexConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.dataset.dataset import Dataset
from twotower.data.features.histories import Histories
from twotower.data.synthetic.shop import generate
from twotower.evaluation.metrics import mean, ranking_metrics
from twotower.index import build_index
from twotower.models.blend import Blend
from twotower.serving.answer.overlaid_model import OverlaidModel, PreparedModel
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.additions import with_items
from twotower.serving.bundle.candidate_blend import Weighing
from twotower.serving.store.protocol import ItemChange
from twotower.workflow.evaluate import evaluate
from twotower.workflow.training.cold_offset import Level, growth_of_gap
from twotower.workflow.training.fit_new_items import NewItemScores, levelled, with_content
from twotower.workflow.training.train import Trained, fit_stages
from twotower.workflow.training.validation import cut_short, halves, oldest

TAGS, PER_TAG, NEW_PER_TAG = 40, 12, 2


def shop(folder: Path) -> Path:
    """Users who each love two of many tags; of every tag, two items appear in the test part only.

    The towers see few rows a tag, so that the tags of what a user took say more than they do.
    """
    rng = np.random.default_rng(0)
    items, train, test = [], [], []
    for tag in range(TAGS):
        for place in range(PER_TAG + NEW_PER_TAG):
            noise = f"x{rng.integers(60)}"
            items.append((f"{tag}-{place}", f"t{tag}|{noise}"))
    for user in range(400):
        for tag in rng.choice(TAGS, 2, replace=False):
            train += [(f"u{user}", f"{tag}-{n}") for n in rng.permutation(PER_TAG)[:4]]
            test.append((f"u{user}", f"{tag}-{PER_TAG + rng.integers(NEW_PER_TAG)}"))
    for name, rows in {"train": train, "test": test}.items():
        frame = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
        frame.write_parquet(folder / f"{name}.parquet")
    frame = pl.DataFrame(items, schema=["item_id", "tags"], orient="row")
    frame.write_parquet(folder / "items.parquet")
    config = folder / "twotower.toml"
    config.write_text(
        """
[data]
interactions = "train.parquet"
items = "items.parquet"
[data.split]
method = "given"
test = "test.parquet"
[features.item.tags]
type = "categories"
separator = "|"
[retriever]
embedding_dim = 8
[training]
epochs = 2
""",
        encoding="utf-8",
    )
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Trained]:
    dataset = Dataset.read(tt.load_config(shop(tmp_path_factory.mktemp("shop"))))
    return dataset, fit_stages(dataset, None, console=Console(file=StringIO()))


def test_new_items_are_found_by_what_they_are_like(trained: tuple[Dataset, Trained]) -> None:
    dataset, found = trained
    served = found.recommender.served
    blend = served.blend
    assert blend is not None
    assert blend.content is not None
    assert served.items.num_warm + len(blend.content.nums) == TAGS * (PER_TAG + NEW_PER_TAG)
    assert blend.usual.new_content > 0
    assert blend.unknown_users.new_content > 0
    assert blend.new_users.new_content == 0, "who has taken nothing"

    def among_new(one: Recommender) -> float:
        return evaluate(one, dataset.test, k=10, candidates="cold").metrics["ndcg@10"]

    towers = among_new(Recommender(replace(served, blend=None)))
    assert among_new(found.recommender) > 1.2 * towers


def test_the_bundle_answers_as_the_trained_model(
    trained: tuple[Dataset, Trained], tmp_path: Path
) -> None:
    found = trained[1].recommender
    found.save(tmp_path / "bundle")
    loaded = Recommender.load(tmp_path / "bundle")
    new = {"column": "item_id", "in": [f"{n}-{PER_TAG}" for n in range(TAGS)]}
    for user in ("u0", "u7", "somebody"):
        one, other = (r.recommend(user, k=10, filter=new) for r in (found, loaded))
        assert one == replace(other, seconds=one.seconds)


def test_items_that_come_later_have_neighbours_too(trained: tuple[Dataset, Trained]) -> None:
    dataset, found = trained
    served = found.recommender.served
    rows = pl.DataFrame({"item_id": ["late", "bare"], "tags": ["t3", None]})
    added = Recommender(with_items(served, rows))
    lover = next(
        user
        for user in dataset.users.ids.to_list()[2:]
        if sum(i.startswith("3-") for i in taken(dataset, user)) >= 4
    )
    only = {"column": "item_id", "in": ["late", "0-12", "1-13"]}
    answer = added.recommend(lover, k=3, filter=only)
    assert answer.items[0].item_id == "late"
    put = OverlaidModel.of(PreparedModel(served)).with_changes(
        [ItemChange("late", {"tags": "t3"}), ItemChange("bare", {})]
    )
    assert put.overlay.links is not None
    queries = served.queries_of(np.array([served.users.num(lover)]), {})
    late = np.array([[len(served.items)]])
    scores = [stages.score(queries, late).scores[0, 0] for stages in (added.stages, put.stages)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)
    nothing = served.queries_of(np.array([-1]), {})
    assert put.stages.score(nothing, late).scores[0, 0] < scores[1]


def taken(dataset: Dataset, user: str) -> list[str]:
    """Ids of the items of a user."""
    nums = dataset.train.by_user()[dataset.users.num(user)]
    return [str(item) for item in dataset.items.ids.gather(nums)]


def test_without_content_weights_nothing_is_looked_up(trained: tuple[Dataset, Trained]) -> None:
    served = trained[1].recommender.served
    blend = served.blend
    assert blend is not None
    silent = replace(
        blend,
        usual=replace(blend.usual, new_content=0.0),
        unknown_users=replace(blend.unknown_users, new_content=0.0),
    )
    model = replace(served, blend=silent)
    assert model.content_neighbours is None
    put = OverlaidModel.of(PreparedModel(model)).with_changes([ItemChange("late", {"tags": "t3"})])
    assert put.overlay.links is None


def test_the_mean_candidate_keeps_its_level() -> None:
    usual = Weighing(Blend({"towers": 1.0}), new_level=0.5, new_slope=4.0)
    assert with_content(usual, None) == usual
    means = {"towers": 0.25, "content": 2.0}
    alone = NewItemScores(Blend({"towers": 2.0, "content": 0.0}), means)
    assert with_content(usual, alone) == usual
    both = with_content(usual, NewItemScores(Blend({"towers": 2.0, "content": 1.0}), means))
    assert (both.new_slope, both.new_content) == (2.0, 1.0)
    towers, content = (np.array([means[name]], dtype=np.float32) for name in ("towers", "content"))
    nobody = np.zeros(1, dtype=np.float32)
    before = usual.score_of_new(towers, np.zeros_like(content), nobody)
    assert both.score_of_new(towers, content, nobody).tolist() == before.tolist()


# --- the level ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["known", "unknown", "features"])
def test_no_kind_of_user_is_shown_too_many_new_items(
    planted: tuple[Dataset, Trained], kind: str
) -> None:
    """A fifth of the catalogue is new, and 2% of ndcg may be lost to it. Users whom training does
    not know were shown new items in half of all places and more: their level was that of others."""
    dataset, found = planted
    recommender = found.recommender
    warm = dataset.items.is_warm(np.arange(len(dataset.items)))
    users = np.arange(dataset.users.first_known, dataset.users.first_known + 200)
    served = recommender.served
    if kind == "known":
        nums = recommender.top_k(users, 20).item_nums
    else:
        lists = [dataset.train.by_user()[user][: user % 9 + 1] for user in users.tolist()]
        ids = [dataset.items.ids.gather(items).to_list() for items in lists]
        rows = pl.DataFrame({"user_id": [f"new{user}" for user in users]})
        if kind == "features":
            frame = dataset.users.frame[users].drop("user_id")
            rows, ids = rows.hstack(frame.get_columns()), [[] for _ in users]
        answers = recommender.recommend_invented(rows, 20, histories=ids)
        assert {answer.path for answer in answers} == {
            {"unknown": "history", "features": "features"}[kind]
        }
        nums = np.array(
            [[dataset.items.num(item.item_id) for item in one.items] for one in answers]
        )
    assert served.items.num_warm < len(served.index.item_nums)
    shown = float((~warm[nums]).mean())
    assert 0 < shown < 0.2


def test_the_level_follows_how_much_a_user_has_taken(planted: tuple[Dataset, Trained]) -> None:
    """Sums over what a user took grow with its number, and what is said of trained items is another
    sum than what is said of new ones."""
    dataset, found = planted
    served = found.recommender.served
    blend = served.blend
    assert blend is not None
    assert abs(blend.usual.new_activity) > 0.1
    assert blend.new_users.new_activity == 0, "all of them have taken nothing"
    warm = dataset.items.is_warm(np.arange(len(dataset.items)))
    lengths = dataset.train.by_user().lengths
    users = np.flatnonzero(lengths > 0)
    few, many = (
        users[part] for part in (np.argsort(lengths[users])[:60], np.argsort(-lengths[users])[:60])
    )

    def ratio(one: Recommender) -> float:
        """How many times as many new items the busy see."""
        shown = [(~warm[one.top_k(some, 20).item_nums]).mean() for some in (many, few)]
        return float((shown[0] + 0.01) / (shown[1] + 0.01))

    mean = float(np.log1p(lengths[users]).mean())
    usual = blend.usual
    flat = replace(usual, new_activity=0.0).raised(usual.new_activity * mean)
    before = ratio(Recommender(replace(served, blend=replace(blend, usual=flat))))
    after = ratio(found.recommender)
    assert abs(np.log(after)) < abs(np.log(before))


def test_every_way_to_ask_gives_the_same_scores(
    planted: tuple[Dataset, Trained], tmp_path: Path
) -> None:
    """All users at once, each alone, with a filter, candidates of an index that is not exact, and
    a bundle from disk."""
    dataset, found = planted[0], planted[1].recommender
    served = found.served
    users = np.arange(served.users.first_known, served.users.first_known + 30)
    ranked = found.top_k(users, 20)
    warm = dataset.items.is_warm(np.arange(len(dataset.items)))
    assert (~warm[ranked.item_nums]).any()
    found.save(tmp_path / "bundle")
    loaded = Recommender.load(tmp_path / "bundle").top_k(users, 20)
    np.testing.assert_array_equal(loaded.item_nums, ranked.item_nums)
    scored = found.stages.score(served.queries_of(users, {}), ranked.item_nums)
    np.testing.assert_allclose(scored.scores, ranked.scores, rtol=1e-4)
    alone = found.recommend(served.users.ids[int(users[3])], k=20)
    assert [served.items.num(item.item_id) for item in alone.items] == ranked.item_nums[3].tolist()
    new = found.top_k(users, 5, allowed=~warm)
    among = found.stages.score(served.queries_of(users, {}), new.item_nums)
    np.testing.assert_allclose(among.scores, new.scores, rtol=1e-4)
    assert (~warm[new.item_nums]).all()
    config = IndexConfig(kind="hnsw")
    index = build_index(config, served.index.vectors(), served.index.item_nums)
    by_candidates = Recommender(replace(served, index=index)).top_k(users, 20)
    same = by_candidates.item_nums == ranked.item_nums
    assert same.mean() > 0.9
    np.testing.assert_allclose(by_candidates.scores[same], ranked.scores[same], rtol=1e-3)


def test_items_put_at_run_time_stand_on_the_same_level(planted: tuple[Dataset, Trained]) -> None:
    """As if they had been in the catalogue from the start."""
    dataset, found = planted
    served = found.recommender.served
    warm = dataset.items.is_warm(np.arange(len(dataset.items)))
    twin = int(np.flatnonzero(~warm[dataset.items.first_known :])[0]) + dataset.items.first_known
    values = dataset.items.frame.row(twin, named=True)
    values.pop("item_id")
    put = OverlaidModel.of(PreparedModel(served)).with_changes([ItemChange("twin", values)])
    users = np.arange(served.users.first_known, served.users.first_known + 20)
    queries = served.queries_of(users, {})
    nums = np.tile([twin, len(served.items)], (len(users), 1))
    scores = put.stages.score(queries, nums).scores
    np.testing.assert_allclose(scores[:, 0], scores[:, 1], rtol=1e-3)


def test_towers_that_know_nobody_by_id_and_visitors_alone(tmp_path: Path) -> None:
    """Every user comes once, so that no validation user is known to training."""
    config = shop(tmp_path)
    rows = pl.read_parquet(tmp_path / "train.parquet")
    number = pl.col("user_id").str.slice(1).cast(pl.Int64)
    rows = rows.with_columns(timestamp=1_600_000_000 + number * 86_400)
    rows.write_parquet(tmp_path / "train.parquet")
    text = config.read_text(encoding="utf-8").replace(
        """[data.split]
method = "given"
test = "test.parquet"
""",
        "",
    )
    config.write_text(text + '[features.user.history]\ntype = "history"\n', encoding="utf-8")
    dataset = Dataset.read(
        tt.load_config(config, ['data.split.method="global_time"', "training.epochs=15"])
    )
    assert not dataset.users.is_warm(dataset.validation.user_num).any()
    found = fit_stages(dataset, None, console=Console(file=StringIO()))
    served = found.recommender.served
    blend = served.blend
    assert blend is not None
    known, later = halves(dataset.validation.histories())
    users = np.flatnonzero(known.items.lengths)
    ids = [dataset.items.ids.gather(known.items[user]).to_list() for user in users.tolist()]
    nobody = pl.DataFrame({"user_id": [f"new{user}" for user in users]})

    def lost(level: float) -> float:
        """Of ndcg of the later halves, relative to lists without new items."""
        figures = []
        for raised in (-100.0, level):
            higher = blend.weighed(one.raised(raised) for one in blend.weighings)
            asked = Recommender(replace(served, blend=higher))
            answers = asked.recommend_invented(nobody, 20, histories=ids)
            nums = [[served.items.num(item.item_id) for item in one.items] for one in answers]
            metrics = ranking_metrics(np.array(nums), later.take(users), 20)
            figures.append(mean(metrics["ndcg@20"]) or 0.0)
        return 1 - figures[1] / figures[0]

    assert 0 < lost(0.0) < 0.03
    assert lost(1.0) > 0.1


def test_a_kind_that_cannot_be_asked_is_raised_as_another() -> None:
    blend = Blend({"towers": 1.0})
    weighings = (Weighing(blend, 1.0, 2.0), Weighing(blend, 1.0, 4.0), Weighing(blend, 1.0, 1.0))

    class Search:
        """Knows of the first kind alone."""

        def level(self, ask: object, kind: str) -> Level | None:
            return Level(3.0, 0.5, 2.0) if kind == "known" else None

    search: Any = Search()
    usual, unknown, new_users = levelled(weighings, search, search, True)
    assert (usual.new_level, usual.new_activity) == (1 + 3 - 0.5 * 2, 0.5)
    assert (unknown.new_level, unknown.new_activity) == (1 + 3 * 2, 0)
    assert (new_users.new_level, new_users.new_activity) == (1 + 3 / 2, 0)
    usual, unknown, _ = levelled(weighings, search, search, False)
    assert unknown.new_activity == usual.new_activity


def test_a_list_is_cut_to_its_oldest_events() -> None:
    events = Histories(
        Ragged.group(np.array([0, 0, 0, 2]), np.array([7, 8, 9, 4]), 3),
        np.array([10, 20, 30, 40]),
        np.array([1, 2, 3, 4]),
    )
    users = np.array([2, 0, 1, 0])
    two = oldest(events, users, np.full(4, 2))
    assert two.items.tolist() == [[4], [7, 8], [], [7, 8]]
    assert two.time is not None
    assert two.time.tolist() == [40, 10, 20, 10, 20]
    assert two.event_num is not None
    assert two.event_num.tolist() == [4, 1, 2, 1, 2]
    many = cut_short(events, np.zeros(3000, dtype=np.int64), 0)
    lengths, number = np.unique(many.items.lengths, return_counts=True)
    assert lengths.tolist() == [1, 2, 3]
    # From 1 to 2, from 2 to 3, from 3 to 4 on a logarithmic scale.
    expected = np.diff(np.log([1, 2, 3, 4])) / np.log(4)
    np.testing.assert_allclose(number / 3000, expected, atol=0.03)
    assert cut_short(events, np.array([1]), 0).items.tolist() == [[]]


def test_the_gap_grows_by_least_squares_with_a_penalty() -> None:
    activity = np.array([1.0, 2.0, 3.0, 4.0], dtype=np.float32)
    new = np.zeros((4, 3), dtype=np.float32)
    old = (5 - 0.5 * activity)[:, None] + new
    # The sum of squares is 5, and the penalty 3.
    assert growth_of_gap(old, new, activity) == pytest.approx(-0.5 * 5 / (5 + 3))
    assert growth_of_gap(old, new, np.full_like(activity, 2)) == 0
    nothing = np.full_like(new, -np.inf)
    assert growth_of_gap(old, nothing, activity) == 0
    new[0] = -np.inf
    assert growth_of_gap(old, new, activity) == pytest.approx(-0.5 * 2 / (2 + 3))


def test_one_user_who_took_more_makes_no_trend() -> None:
    rng = np.random.default_rng(0)
    activity = np.log1p(np.append(np.full(2499, 3.0), 4.0)).astype(np.float32)
    old = rng.normal(scale=1.5, size=(2500, 1)).astype(np.float32)
    assert abs(growth_of_gap(old, np.zeros_like(old), activity)) < 0.3


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Trained]:
    """The synthetic shop without a fifth of its items in training."""
    folder = tmp_path_factory.mktemp("planted")
    made = generate(num_users=600, num_items=300, num_interactions=16_000, seed=0)
    held_out = pl.col("item_id").str.slice(1).cast(pl.Int64) % 5 == 0
    made.interactions.filter(~held_out).write_parquet(folder / "train.parquet")
    made.interactions.filter(held_out).write_parquet(folder / "test.parquet")
    made.users.write_parquet(folder / "users.parquet")
    made.items.drop("cover").write_parquet(folder / "items.parquet")
    config = folder / "twotower.toml"
    config.write_text(
        """
[data]
interactions = "train.parquet"
users = "users.parquet"
items = "items.parquet"
[data.split]
method = "given"
test = "test.parquet"
[features.user]
age = {type = "number"}
region = {type = "category"}
[features.item]
genres = {type = "categories"}
description = {type = "text"}
[retriever]
embedding_dim = 16
[training]
epochs = 12
""",
        encoding="utf-8",
    )
    dataset = Dataset.read(tt.load_config(config))
    return dataset, fit_stages(dataset, None, console=Console(file=StringIO()))
