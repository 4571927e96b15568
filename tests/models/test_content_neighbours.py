"""Content neighbours, against similarities worked out by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from twotower.config import parse_config
from twotower.data.arrays.ranked import NO_ITEM
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.splits import Parts
from twotower.data.tables.tables import Tables
from twotower.models import content_neighbours
from twotower.models.content_neighbours import ContentLinks, ContentNeighbours, term_vectors
from twotower.models.retriever.two_tower import TwoTower

TAGS = {"a": "red,round", "b": "red", "c": "blue", "d": None, "new": "red,blue", "odd": "green"}


def catalogue() -> tuple[Dataset, ContentNeighbours, TwoTower]:
    """Items a to d are taken, `new` and `odd` are not."""
    log = pl.DataFrame({"user_id": ["u", "u", "v", "v", "w"], "item_id": ["a", "b", "a", "c", "d"]})
    config = parse_config(
        {
            "data": {"interactions": "log"},
            "features": {"item": {"tags": {"type": "categories", "separator": ","}}},
            "retriever": {"embedding_dim": 8},
        }
    )
    items = pl.DataFrame({"item_id": list(TAGS), "tags": list(TAGS.values())})
    data = Dataset.from_parts(
        config, Tables(log, None, items), Parts(log, log.clear(), log.clear(), "random", "")
    )
    model = TwoTower(config.retriever, data.schema, seed=0)
    assert model.cold_tower is not None
    trained = torch.arange(data.items.first_known, data.items.end_warm)
    model.cold_tower.fit(data.items.gather(trained))
    finder = ContentNeighbours.of(model.cold_tower, data.items, data.train.item_counts())
    assert finder is not None
    return data, finder, model


def nums_of(data: Dataset, *ids: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return data.items.nums(pl.Series(ids)).astype(np.int64)


def test_neighbours_are_those_that_share_terms_the_rarer_the_nearer() -> None:
    data, finder, _ = catalogue()
    new = nums_of(data, "new")
    links = finder.links(new, data.items.gather(torch.from_numpy(new)))
    a, b, c = nums_of(data, "a", "b", "c")
    # Weights of TF-IDF: log(5 / 3) + 1 for red, which two of four items have, log(5 / 2) + 1 else.
    red, rare = np.log(5 / 3) + 1, np.log(5 / 2) + 1
    both = np.hypot(red, rare)
    expected = {c: rare / both, b: red / both, a: red / both * red / both}
    assert links.near[0, :3].tolist() == [c, b, a]
    np.testing.assert_allclose(links.similarity[0, :3], list(expected.values()), rtol=1e-5)
    assert (links.near[0, 3:] == NO_ITEM).all()
    assert not links.similarity[0, 3:].any()


def test_an_item_whose_terms_nobody_knows_has_no_neighbour() -> None:
    data, finder, _ = catalogue()
    odd = nums_of(data, "odd")
    links = finder.links(odd, data.items.gather(torch.from_numpy(odd)))
    assert (links.near == NO_ITEM).all()
    assert links.weights(len(data.items), links.unit) is None


def test_scores_are_sums_over_what_the_user_took(monkeypatch: pytest.MonkeyPatch) -> None:
    data, finder, _ = catalogue()
    new = np.sort(nums_of(data, "new", "odd"))
    features = data.items.gather(torch.from_numpy(new))
    links = finder.links(new, features)
    weights = links.weights(len(data.items), links.unit)
    assert weights is not None
    users = nums_of_users(data, "u", "v", "w")
    said = weights.scores(data.train.by_user().take(users)).at(np.tile(new, (3, 1)))
    red, rare = np.log(5 / 3) + 1, np.log(5 / 2) + 1
    both = np.hypot(red, rare)
    b, c = red / both, rare / both
    sums = np.array([b * b + b, b * b + c, 0.0], dtype=np.float32)
    place = int(np.flatnonzero(new == nums_of(data, "new")[0])[0])
    np.testing.assert_allclose(said[:, place], weights.damped(sums), rtol=1e-5)
    assert not said[:, 1 - place].any()
    monkeypatch.setattr(content_neighbours, "CELLS_PER_BLOCK", 1)
    again = finder.links(new, features)
    np.testing.assert_array_equal(again.near, links.near)


def nums_of_users(data: Dataset, *ids: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return data.users.nums(pl.Series(ids)).astype(np.int64)


def test_only_the_nearest_and_the_most_taken_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    data, finder, model = catalogue()
    new = nums_of(data, "new")
    features = data.items.gather(torch.from_numpy(new))
    monkeypatch.setattr(content_neighbours, "NEIGHBOURS", 2)
    assert finder.links(new, features).near.shape == (1, 2)
    monkeypatch.setattr(content_neighbours, "MAX_TRAINED", 1)
    few = ContentNeighbours.of(model.cold_tower, data.items, data.train.item_counts())
    assert few is not None
    assert few.links(new, features).near[0].tolist() == [nums_of(data, "a")[0], NO_ITEM]


def test_vectors_have_length_1_or_are_empty() -> None:
    data, _, model = catalogue()
    assert model.cold_tower is not None
    rows = torch.arange(data.items.first_known, len(data.items))
    found = term_vectors(model.cold_tower, data.items.gather(rows))
    lengths = np.sqrt(found.multiply(found).sum(axis=1))
    empty = nums_of(data, "d", "odd") - data.items.first_known
    assert not lengths[empty].any()
    np.testing.assert_allclose(np.delete(lengths, empty), 1, rtol=1e-5)


@pytest.mark.parametrize("wrong", ["order", "beyond", "near", "shape", "nan"])
def test_links_of_other_items_are_noticed(wrong: str) -> None:
    data, finder, _ = catalogue()
    new = np.sort(nums_of(data, "new", "odd"))
    links = finder.links(new, data.items.gather(torch.from_numpy(new)))
    trained = range(data.items.first_known, data.items.end_warm)
    assert links.fits(len(data.items), trained)
    broken = {
        "order": links._replace(nums=links.nums[::-1]),
        "beyond": links._replace(nums=links.nums + 1),
        "near": links._replace(near=links.near + len(data.items)),
        "shape": ContentLinks(links.nums, links.near[:, :3], links.similarity),
        "nan": links._replace(similarity=np.full_like(links.similarity, np.nan)),
    }[wrong]
    assert not broken.fits(len(data.items), trained)


def test_towers_without_terms_have_no_content() -> None:
    data, _, _ = catalogue()
    assert ContentNeighbours.of(None, data.items, data.train.item_counts()) is None
