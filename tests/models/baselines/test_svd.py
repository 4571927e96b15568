"""The SVD keeps the contract, and agrees with other implementations."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse.linalg import svds
from sklearn.decomposition import TruncatedSVD

from tests.contracts.model_contract import FIRST, TRAIN, ModelContract
from twotower.config.baselines import SVDConfig
from twotower.models.baselines import SVD
from twotower.models.baselines.matrix import interaction_matrix

Floats = NDArray[np.float64]


class TestSVD(ModelContract):
    model_type = SVD

    def config(self) -> SVDConfig:
        return SVDConfig(embedding_dim=4)


@pytest.mark.parametrize("dim", [4, 9])
def test_scores_are_those_of_other_libraries(dim: int) -> None:
    matrix = interaction_matrix(TRAIN, "raw").astype(np.float64)
    config = SVDConfig(embedding_dim=dim, user_exponent=0, item_exponent=0)
    model = SVD.fit(TRAIN, config)
    users = np.arange(FIRST, matrix.shape[0] - 2)
    items = np.tile(np.arange(FIRST, FIRST + matrix.shape[1]), (len(users), 1))
    scores = model.score(users, items)
    oracle = TruncatedSVD(dim, algorithm="arpack", random_state=0).fit(matrix)
    projected = matrix @ oracle.components_.T @ oracle.components_
    np.testing.assert_allclose(scores, projected[users], atol=1e-4)
    left: Floats
    right: Floats
    left, values, right = svds(matrix, k=dim, rng=np.random.default_rng(0))
    np.testing.assert_allclose(scores, ((left * values) @ right)[users], atol=1e-4)


def test_scaling_by_hand() -> None:
    dense = interaction_matrix(TRAIN, "raw").toarray().astype(np.float64)
    of_users = np.maximum(dense.sum(axis=1), 1)[:, None] ** 0.5
    of_items = dense.sum(axis=0) ** 0.3
    scaled = dense / of_users / of_items
    right = np.linalg.svd(scaled, full_matrices=False)[2][:3]
    model = SVD.fit(TRAIN, SVDConfig(embedding_dim=3, user_exponent=0.5, item_exponent=0.3))
    users = np.arange(FIRST, len(dense) - 2)
    items = np.tile(np.arange(FIRST, FIRST + dense.shape[1]), (len(users), 1))
    expected = scaled @ right.T @ right * of_items
    np.testing.assert_allclose(model.score(users, items), expected[users], atol=1e-5)


def test_no_more_singular_values_than_there_are() -> None:
    model = SVD.fit(TRAIN, SVDConfig(embedding_dim=500))
    assert model.item_vectors.shape == (60, 52)
