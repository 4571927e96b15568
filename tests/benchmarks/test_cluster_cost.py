"""What many processes cost is worked out from what two were measured to take."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks import cluster_cost
from benchmarks.cluster_cost import Setup
from benchmarks.common import saved

SETUP = Setup(
    users=1e6,
    items=1e5,
    rows=1e7,
    processes=2,
    batch_size=1024,
    targets=10.0,
    negatives=4096,
    dim=64,
    epochs=3,
    optimizer="adam",
    precision="fp32",
    latency=1e-4,
    round=1e-3,
    asking=1e-7,
    bandwidth=1e9,
    memory=1e9,
)


@pytest.mark.parametrize(("draws", "items"), [(1, 1000), (500, 1000), (10_000, 50_000)])
def test_different_items_are_counted_by_zipfs_law(draws: int, items: int) -> None:
    chances = 1 / np.arange(1, items + 1)
    expected = (1 - (1 - chances / chances.sum()) ** draws).sum()
    assert cluster_cost.distinct(draws, items) == pytest.approx(expected, rel=0.03)


def test_two_processes_are_predicted_from_one() -> None:
    found = saved("processes")
    constant, slope = cluster_cost.step_of_one(found["steps"])
    rows = cluster_cost.check(found, constant, slope)
    assert len(rows) == 4
    assert all(abs(row["off"]) < 0.2 for row in rows), rows
    for row in rows:
        assert row["bytes_predicted"] == pytest.approx(row["bytes_measured"], rel=0.1)


def test_one_process_sends_nothing_and_waits_for_nobody() -> None:
    alone = dataclasses.replace(SETUP, processes=1)
    assert cluster_cost.traffic(alone) == 0
    assert cluster_cost.seconds_of_step(alone, 0.5, 0.001) == 0.5 + 1024 * 0.001


def test_memory_counts_what_the_optimizer_keeps() -> None:
    adam = cluster_cost.cost(SETUP, 0.01, 1e-5)
    rowwise = cluster_cost.cost(dataclasses.replace(SETUP, optimizer="rowwise_adagrad"), 0.01, 1e-5)
    rounded = cluster_cost.cost(dataclasses.replace(SETUP, precision="bf16"), 0.01, 1e-5)
    assert rounded["bytes_a_row"] * 2 == adam["bytes_a_row"]
    assert adam["bytes_a_row"] == 64 * 4 * 4  # weight, two moments, the best so far
    assert rowwise["bytes_a_row"] == 64 * 4 * 2 + 4
    assert adam["tables_gb"] == pytest.approx(1.1e6 * 1024 / 1e9, abs=0.05)
    assert not adam["fits"] or adam["least_processes_by_memory"] <= 2
    assert adam["steps_an_epoch"] == round(1e7 / 10_240)
