"""Users whose id training never saw: their id vectors, predicted from what they took."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console

from twotower.config import parse_config
from twotower.data.arrays.ragged import Ragged
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.entities import Features, tensor_of
from twotower.errors import BundleError
from twotower.models.retriever.fold_in import FoldIn
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.bundle import FOLD_IN, load_bundle
from twotower.workflow.training.train import train_bundle


def dataset_of(folder: Path, *, users: int = 120, **sections: object) -> Dataset:
    """Users who take 6 of the 12 items of their taste."""
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{user % 3}-{item}")
        for user in range(users)
        for item in rng.permutation(12)[:6]
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
    frame.write_parquet(folder / "rows.parquet")
    data = {"interactions": str(folder / "rows.parquet"), "split": {"method": "random"}}
    config = {"data": data, "retriever": {"embedding_dim": 8}, "training": {"epochs": 5}}
    return Dataset.read(parse_config({**config, **sections}))


def planted(folder: Path) -> tuple[Dataset, TwoTower, torch.Tensor]:
    """Towers in which the id vectors of users are a linear function of those of their items."""
    dataset = dataset_of(folder)
    model = TwoTower(dataset.config.retriever, dataset.schema, seed=1)
    unfitted = FoldIn(model, torch.zeros(0, 0), dataset.users.first_known)
    function = torch.randn(9, 8, generator=torch.Generator().manual_seed(2))
    query, item = model.id_encoders()
    with torch.no_grad():
        item.table.weight.copy_(torch.randn(item.table.weight.shape))
        query.table.weight.copy_(unfitted.summaries(dataset.train.by_user()) @ function)
    return dataset, model, function


def test_a_linear_function_is_found(tmp_path: Path) -> None:
    dataset, model, _ = planted(tmp_path)
    fold_in = FoldIn.fit(model, dataset.train)
    assert fold_in.fits()
    known = np.arange(dataset.users.first_known, dataset.users.end_warm)
    items = dataset.train.by_user().take(known)
    oov = torch.ones(len(known), dtype=torch.int64)
    users, table = fold_in.folded({ID_FEATURE: oov}, items)
    assert table is not None
    found, wanted = table[tensor_of(users, "id")], model.id_encoders()[0].table.weight[known]
    assert torch.nn.functional.cosine_similarity(found, wanted).min() > 0.99


def test_who_is_folded_in(tmp_path: Path) -> None:
    dataset, model, _ = planted(tmp_path)
    fold_in = FoldIn.fit(model, dataset.train)
    first = dataset.items.first_known
    items = Ragged.group(
        # Known; unknown with items, one of them twice; without; with new items alone; unknown.
        np.array([0, 1, 1, 1, 3, 3, 4, 4]),
        np.array([first, first, first + 1, first, 0, 10_000, first, first + 1]),
        5,
    )
    nums = torch.tensor([dataset.users.first_known + 3, 1, 1, 1, 1])
    users, table = fold_in.folded({ID_FEATURE: nums}, items)
    assert table is not None
    assert users[ID_FEATURE].tolist() == [0, 1, 2, 3, 4]
    own = model.id_encoders()[0].table.weight
    assert torch.equal(table[[0, 2, 3]], own[nums[[0, 2, 3]]])
    assert torch.equal(table[1], table[4])
    assert not torch.allclose(table[1], own[1])
    alone = fold_in.folded({ID_FEATURE: nums[1:2]}, items.take(np.array([1])))[1]
    assert alone is not None
    assert torch.equal(alone[0], table[1])


def test_known_users_with_newer_items_are_folded_in(tmp_path: Path) -> None:
    dataset, model, _ = planted(tmp_path)
    fold_in = FoldIn.fit(model, dataset.train)
    known = torch.arange(dataset.users.first_known, dataset.users.first_known + 2)
    items = Ragged.group(np.array([0, 1]), np.full(2, dataset.items.first_known), 2)
    newer = np.array([False, True])
    users, table = fold_in.folded({ID_FEATURE: known}, items, newer)
    assert table is not None
    own = model.id_encoders()[0].table.weight[known]
    assert torch.equal(table[0], own[0])
    assert not torch.allclose(table[1], own[1])
    assert users[ID_FEATURE].tolist() == [0, 1]


def test_nobody_to_fold_in(tmp_path: Path) -> None:
    dataset, model, _ = planted(tmp_path)
    fold_in = FoldIn.fit(model, dataset.train)
    users: Features = {ID_FEATURE: torch.tensor([1, dataset.users.first_known])}
    items = Ragged.group(np.array([1]), np.array([dataset.items.first_known]), 2)
    same, table = fold_in.folded(users, items)
    assert table is None
    assert same is users


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained with a blend."""
    folder = tmp_path_factory.mktemp("folded")
    train_bundle(dataset_of(folder).config, folder / "bundle", console=Console(quiet=True))
    return folder / "bundle"


def test_an_unknown_user_gets_the_vector_of_a_known_one_with_the_same_items(bundle: Path) -> None:
    served = load_bundle(bundle)
    fold_in = served.query_encoder.fold_in
    assert fold_in is not None
    known = np.arange(served.users.first_known, served.users.end_warm)
    queries = served.queries_of(known, {})
    oov = torch.ones(len(known), dtype=torch.int64)
    unknown = queries._replace(users={**queries.users, ID_FEATURE: oov})
    width = served.similarity_dim
    one, other = (served.query_encoder.vectors(asked)[:, :width] for asked in (queries, unknown))
    cosines = (one * other).sum(axis=1)
    assert np.median(cosines) > 0.9
    alike = one @ other.T
    own_taste = [int(str(name)[1:]) % 3 for name in served.users.ids[served.users.first_known :]]
    same = np.equal.outer(own_taste, own_taste)
    assert alike[same].mean() > alike[~same].mean() + 0.5


def test_tables_in_bf16_are_half_as_large_in_the_bundle_and_answer_alike(
    bundle: Path, tmp_path: Path
) -> None:
    towers = {"embedding_dim": 8, "table_precision": "bf16"}
    config = dataset_of(tmp_path, retriever=towers).config
    train_bundle(config, tmp_path / "bundle", console=Console(quiet=True))
    sizes = []
    for path in (bundle, tmp_path / "bundle"):
        recommender = Recommender.load(path)
        assert recommender.served.query_encoder.fold_in is not None
        recommender.save(tmp_path / "again")
        again = Recommender.load(tmp_path / "again")
        encoders = again.served.towers.id_encoders()
        sizes.append(sum(encoder.table.weight.nbytes for encoder in encoders))
        found = []
        for one in (recommender, again):
            known = one.recommend("u1", k=6)
            new = one.recommend_invented(
                pl.DataFrame({"user_id": [None]}), 6, histories=[["i1-1", "i1-2"]]
            )
            found.append([item.item_id for answer in (known, *new) for item in answer.items])
        assert found[0] == found[1]
        assert len(found[0]) == 12
        assert all(str(item).startswith("i1-") for item in found[0])
    assert sizes[1] * 2 == sizes[0]


def test_a_saved_bundle_answers_unknown_users_as_before(bundle: Path, tmp_path: Path) -> None:
    recommender = Recommender.load(bundle)
    recommender.save(tmp_path / "again")
    again = Recommender.load(tmp_path / "again")
    weights = [one.served.query_encoder.fold_in for one in (recommender, again)]
    assert weights[0] is not None
    assert weights[1] is not None
    assert torch.equal(weights[0].weights, weights[1].weights)


def test_towers_that_stand_alone_fold_nobody_in(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, retriever={"embedding_dim": 8, "blend": False})
    model = TwoTower(dataset.config.retriever, dataset.schema)
    served = Recommender.build(model, dataset.train, dataset.config).served
    assert served.query_encoder.fold_in is None


def test_weights_of_another_width_are_refused(bundle: Path) -> None:
    served = load_bundle(bundle)
    fold_in = served.query_encoder.fold_in
    assert fold_in is not None
    assert not replace(fold_in, weights=torch.zeros(4, 8)).fits()
    assert not replace(fold_in, weights=torch.full((9, 8), np.nan)).fits()
    assert (bundle / FOLD_IN).exists()
    (bundle / FOLD_IN).write_bytes(b"")
    with pytest.raises(BundleError, match=FOLD_IN):
        load_bundle(bundle)
