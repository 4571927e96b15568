"""EASE keeps the contract, and its weights are those of the formula."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray

from tests.contracts.model_contract import FIRST, TRAIN, ModelContract, interactions
from twotower.config.baselines import EASEConfig
from twotower.errors import DataError
from twotower.models.baselines import EASE, ease
from twotower.models.baselines.matrix import interaction_matrix

Floats = NDArray[np.float64]


class TestEASE(ModelContract):
    model_type = EASE

    def config(self) -> EASEConfig:
        return EASEConfig(l2=20.0)


def by_formula(dense: Floats, l2: float) -> Floats:
    """Steck 2019, equation 8, in double precision."""
    inverse = np.linalg.inv(dense.T @ dense + l2 * np.eye(dense.shape[1]))
    weights: Floats = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def random_matrix(users: int, items: int) -> Floats:
    rng = np.random.default_rng(0)
    dense = (rng.random((users, items)) < 0.2) * rng.integers(1, 4, (users, items))
    dense[np.arange(users), np.arange(users) % items] = 1
    dense[np.arange(items) % users, np.arange(items)] = 1
    return np.asarray(dense, dtype=np.float64)


@pytest.mark.parametrize(("users", "items"), [(40, 15), (15, 40)])
@pytest.mark.parametrize("cells", [1 << 24, 100])
def test_weights_are_those_of_the_formula(
    users: int, items: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With fewer users than items the inverse is found through the users.
    monkeypatch.setattr(ease, "GRAM_CELLS_PER_BLOCK", cells)
    dense = random_matrix(users, items)
    pairs = np.argwhere(dense)
    train = interactions(
        [(int(u), int(i)) for u, i in pairs], users, items, weight=dense[tuple(pairs.T)].tolist()
    )
    model = EASE.fit(train, EASEConfig(l2=3.0))
    expected = by_formula(dense, 3.0)
    np.testing.assert_allclose(model.weights.numpy(), expected, atol=2e-6)
    asked = np.arange(users) + FIRST
    scores = model.score(asked, np.tile(np.arange(items) + FIRST, (users, 1)))
    np.testing.assert_allclose(scores, dense @ expected, atol=2e-5)


def test_no_other_weights_with_a_zero_diagonal_have_a_lower_loss() -> None:
    dense = random_matrix(40, 15)
    best = by_formula(dense, 3.0)

    def loss(weights: Floats) -> float:
        return float(((dense - dense @ weights) ** 2).sum() + 3.0 * (weights**2).sum())

    rng = np.random.default_rng(1)
    for _ in range(20):
        change = rng.normal(0, 0.01, best.shape)
        np.fill_diagonal(change, 0)
        assert loss(best + change) > loss(best)


def test_the_inverse_takes_no_memory_of_its_own() -> None:
    dense = torch.eye(5) * 2
    inverse = ease.inverse_of(dense)
    assert inverse.data_ptr() == dense.data_ptr()
    np.testing.assert_allclose(inverse.numpy(), np.eye(5) / 2, rtol=1e-6)


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(available=(1 << 30) + 2_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(DataError) as error:
        ease.inverse_gram(interaction_matrix(TRAIN, "raw"), 1.0)
    assert str(error.value) == (
        "EASE on 60 items needs 0.0 GB of memory, but only 0.0 GB are free. Fix: leave 'ease' "
        "out: 'ials' needs a vector for each user and item alone."
    )


def test_a_matrix_without_an_inverse() -> None:
    with pytest.raises(DataError) as error:
        ease.inverse_of(torch.zeros(2, 2))
    assert str(error.value) == (
        "the matrix of the items cannot be inverted. Fix: raise the baseline's l2."
    )
