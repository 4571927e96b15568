"""BPR-MF keeps the contract, and its gradient is that of its loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.contracts.model_contract import FIRST, TRAIN, ModelContract, interactions
from twotower.config.baselines import BPRMFConfig
from twotower.models.baselines import BPRMF
from twotower.models.baselines.matrix import interaction_matrix, pair_keys


class TestBPRMF(ModelContract):
    model_type = BPRMF

    def config(self) -> BPRMFConfig:
        return BPRMFConfig(
            embedding_dim=4, epochs=60, learning_rate=0.02, batch_size=64, l2=0.1, negatives_drawn=1
        )


def test_the_gradient_is_that_of_the_loss() -> None:
    config = BPRMFConfig(embedding_dim=5, epochs=1, l2=0.3)
    model = BPRMF.fit(TRAIN, config)
    assert model.item_bias is not None
    for table in (model.user_vectors, model.item_vectors, model.item_bias):
        table.grad = torch.ones_like(table)
    rng = np.random.default_rng(0)
    users, items = rng.integers(FIRST, 40, 30), rng.integers(0, 60, 30)
    others, weights = rng.integers(0, 60, 30), rng.integers(0, 4, 30).astype(np.float32)
    model._gradients(users, items, others, weights)
    tables = [model.user_vectors, model.item_vectors, model.item_bias]
    p, q, b = (table.detach().double().requires_grad_() for table in tables)
    user, item, other = p[users], q[items], q[others]
    margin = (user * item).sum(1) - (user * other).sum(1) + b[items] - b[others]
    ranked = (F.softplus(-margin) * torch.from_numpy(weights)).sum()
    shrunk = sum(part.square().sum() for part in (user, item, other, b[items], b[others]))
    ((ranked + 0.15 * shrunk) / 30).backward()  # type: ignore[no-untyped-call]
    for table, expected in zip(tables, (p.grad, q.grad, b.grad), strict=True):
        assert table.grad is not None
        assert expected is not None
        np.testing.assert_allclose(table.grad.numpy(), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_items_are_drawn_as_the_config_says_and_none_that_was_taken_is_kept(power: float) -> None:
    pairs = [(user, item) for user in range(40) for item in range(6) if user < 5 * (item + 1)]
    train = interactions(pairs, 40, 6)
    model = BPRMF.fit(train, BPRMFConfig(epochs=1, negatives_drawn=1, negative_power=power))
    matrix = interaction_matrix(train, "raw")
    counts = np.bincount(matrix.indices, minlength=6)
    total = np.cumsum(counts**power)
    chances = None if power == 0 else total / total[-1]
    users = np.random.default_rng(1).integers(FIRST, FIRST + 40, 40_000)
    drawn, kept = model._negatives(pair_keys(matrix), users, chances, np.random.default_rng(0))
    share = np.bincount(drawn, minlength=6) / drawn.size
    np.testing.assert_allclose(share, counts**power / (counts**power).sum(), atol=0.01)
    assert np.array_equal(kept, matrix.toarray()[users, drawn] == 0)


def test_of_the_drawn_items_the_hardest_is_learned_from() -> None:
    model = BPRMF.fit(TRAIN, BPRMFConfig(embedding_dim=4, epochs=3, negatives_drawn=400))
    matrix = interaction_matrix(TRAIN, "raw")
    users = np.arange(FIRST, FIRST + 48)
    found, kept = model._negatives(pair_keys(matrix), users, None, np.random.default_rng(0))
    # Of 400 draws from 60 items hardly one is left out: the best item that was not taken.
    best = model.top_k(users, 1).item_nums[:, 0] - FIRST
    assert kept.all()
    assert (found == best).mean() > 0.9
    everything = interactions([(0, 0), (0, 1), (1, 0)], 2, 2)
    other = BPRMF.fit(everything, BPRMFConfig(epochs=1))
    keys = pair_keys(interaction_matrix(everything, "raw"))
    nobody = other._negatives(keys, np.array([FIRST, FIRST + 1]), None, np.random.default_rng(0))
    assert nobody[1].tolist() == [False, True]
    assert nobody[0][1] == 1


def test_plain_bpr_and_a_power_find_the_groups_too() -> None:
    settings = TestBPRMF().config().model_dump() | {"negatives_drawn": 1, "negative_power": 0.5}
    model = BPRMF.fit(TRAIN, BPRMFConfig.model_validate(settings))
    found = model.top_k(np.arange(FIRST, FIRST + 48), 5).item_nums - FIRST
    assert (found % 4 == np.arange(48)[:, None] % 4).mean() > 0.97
