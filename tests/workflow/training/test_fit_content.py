"""Content neighbours in the answers about new items: chosen, kept, and asked by every entrance."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import twotower as tt
from twotower.data.dataset.dataset import Dataset
from twotower.models.blend import Blend
from twotower.serving.answer.overlaid_model import OverlaidModel, PreparedModel
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.additions import with_items
from twotower.serving.bundle.candidate_blend import Weighing
from twotower.serving.store.protocol import ItemChange
from twotower.workflow.evaluate import evaluate
from twotower.workflow.training.fit_content import NewItemScores, with_content
from twotower.workflow.training.train import Trained, fit_stages

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
    assert blend.unknown_users.new_content == 0

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
    before = usual.score_of_new(towers, np.zeros_like(content))
    assert both.score_of_new(towers, content).tolist() == before.tolist()
