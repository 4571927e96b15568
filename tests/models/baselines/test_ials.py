"""iALS keeps the contract, solves its normal equations at once or step by step, and lowers its
objective."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import sparse

from tests.contracts.model_contract import COLD_USER, FIRST, TRAIN, ModelContract, interactions
from twotower.config.baselines import IALSConfig
from twotower.data.arrays.ragged import Ragged
from twotower.models.baselines import IALS, ials
from twotower.models.baselines.ials import STEPS, improved, objective, resolved, solved
from twotower.models.baselines.matrix import Matrix, interaction_matrix


class TestIALS(ModelContract):
    model_type = IALS

    def config(self) -> IALSConfig:
        return IALSConfig(embedding_dim=4, epochs=8)


CONFIG = IALSConfig(embedding_dim=6, unobserved_weight=0.2, l2=0.05, frequency_exponent=0.7)


def weighted() -> Matrix:
    """9 rows with 0 to 12 pairs among 20 columns, weights 1 to 4."""
    rng = np.random.default_rng(3)
    dense = np.zeros((9, 20), dtype=np.float32)
    for row, length in enumerate([0, 1, 3, 5, 6, 7, 9, 12, 2]):
        dense[row, rng.permutation(20)[:length]] = rng.integers(1, 5, length)
    return sparse.csr_array(dense)


@pytest.mark.parametrize("dim", [2, 6, 15])
def test_rows_solve_their_dense_normal_equations(dim: int) -> None:
    # Rows with fewer pairs than dimensions go through another system; dim 2 and 15 have one kind.
    matrix = weighted()
    vectors = torch.from_numpy(np.random.default_rng(0).normal(size=(20, dim)).astype(np.float32))
    found = solved(matrix, vectors, CONFIG, 20).numpy()
    v, dense = vectors.double().numpy(), matrix.toarray().astype(np.float64)
    for row, weights in enumerate(dense):
        pairs = int((weights > 0).sum())
        ridge = 0.05 * (pairs + 0.2 * 20) ** 0.7
        left = (v.T * weights) @ v + 0.2 * v.T @ v + ridge * np.eye(dim)
        expected = np.linalg.solve(left, v.T @ weights)
        np.testing.assert_allclose(found[row], expected, atol=1e-4)
    assert (found[0] == 0).all()


def drawn(rows: int, dim: int, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return torch.from_numpy(values)


@pytest.mark.parametrize("dim", [1, 2, 6, 15])
def test_repeated_improvements_arrive_at_the_exact_solution(dim: int) -> None:
    matrix, vectors = weighted(), drawn(20, dim)
    exact = solved(matrix, vectors, CONFIG, 20)
    found = drawn(9, dim, seed=1)
    for _ in range(40):
        found = improved(found, matrix, vectors, CONFIG, 20)
    torch.testing.assert_close(found, exact, atol=1e-4, rtol=1e-4)
    assert (found[0] == 0).all()


@pytest.mark.parametrize("dim", [1, 2, STEPS])
def test_as_many_steps_as_dimensions_suffice(dim: int) -> None:
    matrix, vectors = weighted(), drawn(20, dim)
    found = improved(torch.zeros(9, dim), matrix, vectors, CONFIG, 20)
    torch.testing.assert_close(found, solved(matrix, vectors, CONFIG, 20), atol=2e-4, rtol=1e-3)


def test_the_first_epochs_are_nearly_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """On few rows the best epoch is one of these."""
    config = IALSConfig(embedding_dim=4, epochs=ials.FIRST_EPOCHS)
    found = IALS.fit(TRAIN, config)
    monkeypatch.setattr(ials, "FIRST_STEPS", STEPS)
    with_few_steps = IALS.fit(TRAIN, config)
    monkeypatch.setattr(ials, "improved", lambda _, *given, steps: solved(*given))
    exact = IALS.fit(TRAIN, config).item_vectors
    gap = float((found.item_vectors - exact).norm())
    assert gap < 0.01 * float(exact.norm())
    assert gap < 0.1 * float((with_few_steps.item_vectors - exact).norm())


def test_the_solution_stays_where_it_is() -> None:
    matrix, vectors = weighted(), drawn(20, 6)
    exact = solved(matrix, vectors, CONFIG, 20)
    again = improved(exact, matrix, vectors, CONFIG, 20)
    torch.testing.assert_close(again, exact, atol=1e-5, rtol=1e-4)


def test_a_warm_start_is_nearer_to_the_solution() -> None:
    matrix, vectors = weighted(), drawn(20, 15)
    exact = solved(matrix, vectors, CONFIG, 20)
    cold = improved(torch.zeros(9, 15), matrix, vectors, CONFIG, 20)
    warm = improved(exact + 0.01 * drawn(9, 15, seed=2), matrix, vectors, CONFIG, 20)
    assert (warm - exact).norm() < 0.2 * (cold - exact).norm()


@pytest.mark.parametrize("numbers", [1, 18, 30])
def test_blocks_of_rows_do_not_change_the_result(
    monkeypatch: pytest.MonkeyPatch, numbers: int
) -> None:
    matrix, vectors, last = weighted(), drawn(20, 6), drawn(9, 6, seed=1)
    whole = improved(last, matrix, vectors, CONFIG, 20)
    monkeypatch.setattr(ials, "NUMBERS_PER_BLOCK", numbers)
    torch.testing.assert_close(improved(last, matrix, vectors, CONFIG, 20), whole)


def test_each_improvement_lowers_the_objective_with_large_weights() -> None:
    matrix = weighted()
    matrix.data = matrix.data**5
    users, items = torch.zeros(9, 6), 0.1 * drawn(20, 6)
    config = CONFIG.model_copy(update={"unobserved_weight": 3.0})
    values = []
    for _ in range(8):
        users = improved(users, matrix, items, config, 20)
        values.append(objective(matrix, users, items, config))
        items = improved(items, sparse.csr_array(matrix.T), users, config, 8)
        values.append(objective(matrix, users, items, config))
    assert all(later < earlier for earlier, later in itertools.pairwise(values))
    exact = solved(matrix, items, config, 20)
    assert values[-1] < 1.05 * objective(matrix, exact, items, config)


def test_one_item_and_no_pairs() -> None:
    one = sparse.csr_array(np.array([[2.0], [0.0]], dtype=np.float32))
    vectors = torch.tensor([[1.0, -2.0]])
    found = improved(torch.ones(2, 2), one, vectors, CONFIG, 1)
    torch.testing.assert_close(found, solved(one, vectors, CONFIG, 1))
    assert (found[1] == 0).all()
    nothing = sparse.csr_array(np.zeros((3, 4), dtype=np.float32))
    assert (improved(torch.ones(3, 2), nothing, drawn(4, 2), CONFIG, 4) == 0).all()


def test_objective_by_hand_and_falling() -> None:
    matrix = interaction_matrix(TRAIN, "raw")
    one = IALSConfig(
        embedding_dim=6, epochs=1, unobserved_weight=0.2, l2=0.005, frequency_exponent=0.7
    )
    values = []
    for epochs in range(1, 7):
        model = IALS.fit(TRAIN, one.model_copy(update={"epochs": epochs}))
        values.append(objective(matrix, model.user_vectors, model.item_vectors, one))
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.9 * values[0]
    p, q = model.user_vectors.double().numpy(), model.item_vectors.double().numpy()
    dense = matrix.toarray().astype(np.float64)
    products = p @ q.T
    counts, others = (dense > 0).sum(axis=1), (dense > 0).sum(axis=0)
    expected = (
        (dense * (products - 1) ** 2).sum()
        + 0.2 * (products**2).sum()
        + 0.005 * ((counts + 0.2 * 60) ** 0.7 * (p**2).sum(axis=1)).sum()
        + 0.005 * ((others + 0.2 * 48) ** 0.7 * (q**2).sum(axis=1)).sum()
    )
    assert values[-1] == pytest.approx(expected, rel=1e-5)


def test_the_weight_of_all_pairs_follows_from_how_full_the_matrix_is() -> None:
    matrix = interaction_matrix(TRAIN, "raw")
    users = int((np.diff(matrix.indptr) > 0).sum())
    model = IALS.fit(TRAIN, IALSConfig(embedding_dim=4, epochs=1))
    weight = model.config.unobserved_weight
    assert weight != "auto"
    assert weight * users * matrix.shape[1] == pytest.approx(10 * matrix.sum(), rel=1e-5)


def test_no_step_away_from_the_solution_lowers_the_objective() -> None:
    matrix = interaction_matrix(TRAIN, "raw")
    config = CONFIG.model_copy(update={"embedding_dim": 4})
    items = IALS.fit(TRAIN, config).item_vectors
    users = solved(matrix, items, config, 60)
    best = objective(matrix, users, items, config)
    rng = np.random.default_rng(0)
    for _ in range(10):
        change = torch.from_numpy(rng.normal(0, 0.01, users.shape)).float()
        assert objective(matrix, users + change, items, config) > best


def test_a_folded_in_user_is_solved_like_a_trained_one() -> None:
    # The new user took what user 0 took: the same vector as user 0's in the next epoch.
    taken = TRAIN.by_user()[FIRST]
    told = Ragged.group(np.full(len(taken), COLD_USER), taken, len(TRAIN.users))
    model = IALS.fit(TRAIN, CONFIG, seen=TRAIN.by_user().merge(told))
    again = solved(interaction_matrix(TRAIN, "raw"), model.item_vectors, CONFIG, 60)
    items = np.arange(FIRST, FIRST + 60)[None]
    scores = model.score(np.array([COLD_USER]), items)[0]
    expected = (again[FIRST] @ model.item_vectors.T).numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_checkerboard_is_completed() -> None:
    pairs = [(u, i) for u in range(20) for i in range(20) if (u + i) % 2 == 0 and u != i]
    train = interactions(pairs, 20, 20)
    model = IALS.fit(train, IALSConfig(embedding_dim=3, epochs=10))
    found = model.top_k(np.arange(20) + FIRST, 1)
    assert np.array_equal(found.item_nums[:, 0], np.arange(20) + FIRST)


@pytest.mark.parametrize(
    ("pairs", "l2"), [(480, 0.03), (81_000, 0.014), (660_912, 0.007), (1_200_000, 0.0057)]
)
def test_l2_falls_as_pairs_grow(pairs: int, l2: float) -> None:
    columns = np.arange(pairs) % 1_300
    matrix = sparse.csr_array(
        (np.ones(pairs, dtype=np.float32), (np.arange(pairs) // 1_300, columns))
    )
    assert matrix.nnz == pairs
    assert resolved(IALSConfig(), matrix).l2 == l2
    assert resolved(IALSConfig(l2=0.5), matrix).l2 == 0.5
