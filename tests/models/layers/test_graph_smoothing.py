"""Smoothing against the dense matrix, values and gradients."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from twotower.data.dataset.interactions import Interactions
from twotower.models.layers import graph_smoothing
from twotower.models.layers.graph_smoothing import (
    InteractionGraph,
    UpdateSmoothing,
    senders_at_once,
)

NUM_USERS, NUM_ITEMS, DIM = 7, 9, 4


def make_part(rng: np.random.Generator) -> Interactions:
    """20 pairs, some twice, between rows 2 .. of both sides; one item is outside."""
    users = rng.integers(2, NUM_USERS, 20).astype(np.int32)
    items = rng.integers(2, NUM_ITEMS, 20).astype(np.int32)
    items[3] = -1
    users[5], items[5] = users[4], items[4]
    part: Any = SimpleNamespace(
        user_num=users,
        item_num=items,
        users=SimpleNamespace(end_warm=NUM_USERS),
        items=SimpleNamespace(end_warm=NUM_ITEMS),
    )
    return cast(Interactions, part)


@pytest.mark.parametrize("in_blocks", [False, True])
@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_equal_to_the_dense_matrix(
    layers: int, in_blocks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_smoothing, "RECEIVERS_AT_ONCE", 3)
    if in_blocks:
        monkeypatch.setattr(graph_smoothing, "senders_at_once", lambda *_: 3)
    rng = np.random.default_rng(0)
    part = make_part(rng)
    dense = torch.zeros(NUM_USERS, NUM_ITEMS)
    for user, item in zip(part.user_num, part.item_num, strict=True):
        if item >= 0:
            dense[user, item] = 1
    user_scale = dense.sum(1).clamp(min=1).rsqrt()[:, None]
    item_scale = dense.sum(0).clamp(min=1).rsqrt()[None]
    dense = user_scale * dense * item_scale

    users = torch.randn(NUM_USERS, DIM, requires_grad=True)
    items = torch.randn(NUM_ITEMS, DIM, requires_grad=True)
    weights = torch.randn(NUM_USERS, DIM), torch.randn(NUM_ITEMS, DIM)

    def tables() -> tuple[torch.Tensor, torch.Tensor]:
        totals, current = [users, items], (users, items)
        for _ in range(layers):
            current = dense @ current[1], dense.T @ current[0]
            totals = [total + now for total, now in zip(totals, current, strict=True)]
        return totals[0] / (layers + 1), totals[1] / (layers + 1)

    graph = InteractionGraph(part, torch.device("cpu"))
    assert [len(side.blocks) for side in (graph.users, graph.items)] == (
        [3, 3] if in_blocks else [0, 0]
    )
    gradients = []
    for smoothed in (tables(), graph.smooth(users, items, layers)):
        value = (smoothed[0] * weights[0]).sum() + (smoothed[1] * weights[1]).sum()
        gradients.append((value.detach(), *torch.autograd.grad(value, (users, items))))
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


def test_changes_are_smoothed_every_so_many_steps_and_at_the_end_of_an_epoch() -> None:
    graph = InteractionGraph(make_part(np.random.default_rng(0)), torch.device("cpu"))
    drawn = torch.randn(NUM_USERS, DIM), torch.randn(NUM_ITEMS, DIM)
    tables = drawn[0].clone().requires_grad_(), drawn[1].clone().requires_grad_()
    smoothing = UpdateSmoothing(graph, tables, 2, every=3)
    begun = graph.smooth(*drawn, 2)
    assert all(torch.allclose(t, b) for t, b in zip(tables, begun, strict=True))
    changes = torch.randn(NUM_USERS, DIM), torch.randn(NUM_ITEMS, DIM)
    for step in range(1, 6):
        with torch.no_grad():
            for table, change in zip(tables, changes, strict=True):
                table.add_(change)
        smoothing.update(step, steps=5)
        # Smoothed after step 3, as a change of three steps, and after the last one, of two.
        smoothed = {1: 0, 2: 0, 3: 3, 4: 3, 5: 5}[step]
        for table, start, change, spread in zip(
            tables, begun, changes, graph.smooth(*changes, 2), strict=True
        ):
            expected = start + smoothed * spread + (step - smoothed) * change
            torch.testing.assert_close(table.detach(), expected, rtol=1e-4, atol=1e-4)


def test_the_state_of_a_smoothing_is_what_the_next_one_begins_with() -> None:
    graph = InteractionGraph(make_part(np.random.default_rng(0)), torch.device("cpu"))
    drawn = torch.randn(NUM_USERS, DIM), torch.randn(NUM_ITEMS, DIM)
    tables = drawn[0].clone(), drawn[1].clone()
    first = UpdateSmoothing(graph, tables, 2, every=2)
    for table in tables:
        table.add_(1)
    copies = tables[0].clone(), tables[1].clone()
    second = UpdateSmoothing(graph, copies, 2, every=2)
    second.load_state_tensors({n: t.clone() for n, t in first.state_tensors().items()})
    for copy, table in zip(copies, tables, strict=True):
        copy.copy_(table)
    first.smooth()
    second.smooth()
    assert all(torch.equal(c, t) for c, t in zip(copies, tables, strict=True))


def test_rows_are_read_in_blocks_where_those_that_receive_have_many_neighbours() -> None:
    # 10 million rows of 500,000 users and 50,000 items: users are read in 16 blocks, items at once.
    assert senders_at_once(50_000, 500_000, 10_000_000) == 32_768
    assert senders_at_once(500_000, 50_000, 10_000_000) == 50_000
    # A million items have too few neighbours in a block that fits into the cache.
    assert senders_at_once(1_000_000, 1_000_000, 20_000_000) == 1_000_000
