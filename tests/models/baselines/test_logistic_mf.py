"""Logistic MF keeps the contract, and its gradient is that of its loss."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from tests.contracts.model_contract import FIRST, TRAIN, ModelContract
from twotower.config.baselines import LogisticMFConfig
from twotower.models.baselines import LogisticMF
from twotower.models.baselines.matrix import interaction_matrix


class TestLogisticMF(ModelContract):
    model_type = LogisticMF

    def config(self) -> LogisticMFConfig:
        return LogisticMFConfig(
            embedding_dim=4,
            epochs=60,
            learning_rate=0.05,
            batch_size=16,
            l2=0.05,
            negatives_per_pair=1,
        )


def with_gradients(model: LogisticMF) -> None:
    """Gradients to be replaced: what was there before must not stay."""
    for table in (model.user_vectors, model.user_bias, model.item_vectors, model.item_bias):
        table.grad = torch.ones_like(table)


def test_the_gradient_is_that_of_the_loss() -> None:
    config = LogisticMFConfig(embedding_dim=5, epochs=3, l2=0.3, negatives_per_pair=2.5)
    model = LogisticMF.fit(TRAIN, config)
    matrix = interaction_matrix(TRAIN, "raw")
    matrix.data[:] = np.random.default_rng(0).integers(1, 4, matrix.nnz)
    users = np.array([9, 4, 30])
    with_gradients(model)
    model._gradients(matrix, users, np.random.default_rng(0))
    tables = [model.user_vectors, model.user_bias, model.item_vectors, model.item_bias]
    p, bu, q, bi = (table.detach().double().requires_grad_() for table in tables)
    scores = p[users] @ q.T + bu[users][:, None] + bi
    weights = torch.from_numpy(matrix[users].toarray()).double()
    counts = (weights > 0).double()
    pairs = counts.sum(1, keepdim=True)
    loss = (weights * F.softplus(-scores)).sum()
    loss = loss + (2.5 * pairs / 60 * F.softplus(scores)).sum()
    of_users = (p[users].square().sum(1) + bu[users].square()) * 3.5 * pairs[:, 0]
    of_items = (q.square().sum(1) + bi.square()) * (counts.sum(0) + 2.5 * pairs.sum() / 60)
    total = loss + 0.15 * (of_users.sum() + of_items.sum())
    total.backward()  # type: ignore[no-untyped-call]
    grads = [p.grad, bu.grad, q.grad, bi.grad]
    every = np.arange(60)
    for table, expected, rows in zip(tables, grads, [users, users, every, every], strict=True):
        assert table.grad is not None
        assert expected is not None
        np.testing.assert_allclose(table.grad.numpy()[rows], expected.numpy()[rows], atol=1e-5)


def test_drawn_items_stand_for_all_of_them() -> None:
    # The mean gradient over many draws is that of all items.
    config = LogisticMFConfig(embedding_dim=5, epochs=3)
    model = LogisticMF.fit(TRAIN, config)
    matrix = interaction_matrix(TRAIN, "raw")
    users = np.array([9, 4, 30])
    rng = np.random.default_rng(0)
    with_gradients(model)
    model._gradients(matrix, users, rng)
    tables = [model.item_vectors, model.item_bias]
    expected = [table.grad.clone() for table in tables if table.grad is not None]
    model.config = config.model_copy(update={"max_items": 40})
    total = [torch.zeros_like(table) for table in tables]
    for _ in range(400):
        model._gradients(matrix, users, rng)
        for place, table in enumerate(tables):
            assert table.grad is not None
            total[place] += table.grad / 400
    for mean, one in zip(total, expected, strict=True):
        np.testing.assert_allclose(mean.numpy(), one.numpy(), atol=0.12 * float(one.abs().max()))


def test_the_groups_are_found_with_drawn_items_too() -> None:
    config = TestLogisticMF().config().model_copy(update={"max_items": 40})
    found = LogisticMF.fit(TRAIN, config).top_k(np.arange(FIRST, FIRST + 48), 5).item_nums - FIRST
    assert (found % 4 == np.arange(48)[:, None] % 4).mean() > 0.97
