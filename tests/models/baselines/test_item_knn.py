"""Item neighbours keep the contract, and their similarities by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from tests.contracts.model_contract import FIRST, TRAIN, ModelContract, interactions
from twotower.config.baselines import ItemKNNConfig
from twotower.errors import DataError
from twotower.models.baselines import ItemKNN
from twotower.models.baselines.item_knn import blocks_of, item_vectors, most_neighbours
from twotower.models.baselines.matrix import interaction_matrix


class TestItemKNN(ModelContract):
    model_type = ItemKNN

    def config(self) -> ItemKNNConfig:
        return ItemKNNConfig()


# Users 0 to 3 took the items 0 1 2, 0 1, 0, 2; item 3 is not taken.
TINY = interactions([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (3, 2)], 4, 4)
COSINES = np.array(
    [
        [0.0, 2 / 6**0.5, 1 / 6**0.5, 0.0],
        [2 / 6**0.5, 0.0, 1 / 2, 0.0],
        [1 / 6**0.5, 1 / 2, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0],
    ]
)


def similarity(**config: Any) -> NDArray[np.float32]:
    model = ItemKNN.fit(TINY, ItemKNNConfig.model_validate({"shrinkage": 0, **config}))
    return model.similarity.toarray()


def test_cosines_by_hand() -> None:
    np.testing.assert_allclose(similarity(), COSINES, rtol=1e-6)


def test_scores_are_sums_over_what_was_taken() -> None:
    model = ItemKNN.fit(TINY, ItemKNNConfig(shrinkage=0))
    scores = model.score(np.array([1, 3]) + FIRST, np.array([[0, 1, 2, 3]] * 2) + FIRST)
    np.testing.assert_allclose(scores, [COSINES[0] + COSINES[1], COSINES[2]], rtol=1e-6)


def test_shrinkage_and_asymmetry_by_hand() -> None:
    shrunk = similarity(shrinkage=2)
    assert shrunk[0, 1] == pytest.approx(2 / (6**0.5 + 2))
    # Item 0 has 3 users, item 1 has 2: taken 0 and recommended 1 is 2 / (3^2a 2^2(1-a)) ** 0.5 ...
    skewed = similarity(asymmetry=0.25)
    assert skewed[0, 1] == pytest.approx(2 / (3**0.25 * 2**0.75))
    assert skewed[1, 0] == pytest.approx(2 / (2**0.25 * 3**0.75))


def test_each_item_keeps_its_nearest_and_of_equal_ones_the_first() -> None:
    kept = similarity(neighbours=1)
    # Columns are the recommended items: 0 keeps 1, 1 keeps 0, 2 keeps 1.
    expected = np.where(np.array([[0, 1, 0, 0], [1, 0, 1, 0], [0] * 4, [0] * 4]), COSINES, 0)
    np.testing.assert_allclose(kept, expected, rtol=1e-6)
    twins = interactions([(0, 0), (0, 1), (0, 2)], 1, 3)
    model = ItemKNN.fit(twins, ItemKNNConfig(shrinkage=0, neighbours=1))
    assert model.similarity.toarray().tolist() == [[0, 1, 1], [1, 0, 0], [0, 0, 0]]


def test_tfidf_and_bm25_by_hand() -> None:
    matrix = interaction_matrix(TINY, "raw")
    idf = np.maximum(np.log(4 / (1 + np.array([3, 2, 1, 1]))), 0)  # by users
    taken = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 1]])  # items 0, 1, 2 by users 0 to 3
    tfidf = item_vectors(matrix, "tfidf").toarray()[:3, FIRST : FIRST + 4]
    np.testing.assert_allclose(tfidf, taken * idf, rtol=1e-6)
    counts = taken.sum(axis=1)
    assert counts.tolist() == [3, 2, 2]
    norms = 1.2 * (0.25 + 0.75 * counts / (7 / 4))
    bm25 = item_vectors(matrix, "bm25").toarray()[:3, FIRST : FIRST + 4]
    np.testing.assert_allclose(bm25, taken * idf * (2.2 / (1 + norms))[:, None], rtol=1e-6)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ItemKNN.fit(TRAIN, ItemKNNConfig(neighbours=7)).similarity.toarray()
    monkeypatch.setattr("twotower.models.baselines.item_knn.SIMILARITIES_PER_BLOCK", 130)
    cut = ItemKNN.fit(TRAIN, ItemKNNConfig(neighbours=7)).similarity.toarray()
    assert np.array_equal(whole, cut)


def test_blocks_hold_as_many_rows_as_fit() -> None:
    sizes = np.array([2, 3, 1, 9, 1, 1])
    assert blocks_of(sizes, 6) == [0, 3, 4, 6]
    assert blocks_of(sizes, 1) == [0, 1, 2, 3, 4, 5, 6]
    assert blocks_of(sizes, 100) == [0, 6]
    assert blocks_of(sizes[:0], 100) == [0]


def test_neighbours_are_counted_from_above() -> None:
    vectors = item_vectors(interaction_matrix(TRAIN, "raw"), "cosine")
    products = (vectors @ vectors.T).toarray()
    most = most_neighbours(vectors, vectors.T.tocsr())
    assert (most >= (products != 0).sum(axis=1)).all()
    assert most.max() <= vectors.shape[0]


def test_what_does_not_fit_is_refused_before_it_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1_000))
    with pytest.raises(DataError) as error:
        ItemKNN.fit(TRAIN, ItemKNNConfig())
    assert str(error.value) == (
        "item-kNN on 60 items needs 0.0 GB of memory, but only 0.0 GB are free. Fix: lower the "
        "baseline's 'neighbours', or leave 'item_knn' out: 'ials' needs a vector for each user and "
        "item alone."
    )
