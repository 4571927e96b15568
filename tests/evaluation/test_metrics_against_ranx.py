"""Our metrics against ranx's, on random rankings with ties.

It runs in a process of its own without its just-in-time compiler: compiling takes a minute, and its
imports warn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.evaluation.metrics import Floats, num_relevant, ranking_metrics

NAMES = {"recall": "recall", "ndcg": "ndcg", "hit": "hit_rate", "mrr": "mrr", "map": "map"}
"""Ours -> theirs."""

PROGRAM = """
import json, sys
from ranx import Qrels, Run, evaluate
told = json.load(sys.stdin)
run = Run(told["run"])
found = evaluate(Qrels(told["qrels"]), run, told["metrics"], return_mean=False)
print(json.dumps({
    "values": {name: list(map(float, values)) for name, values in found.items()},
    "order": [list(answers) for answers in run.to_dict().values()],
}))
"""
QUERIES, ITEMS, KS = 60, 40, (1, 5, 20)


def by_ranx(scores: Floats, relevant: Ragged) -> tuple[NDArray[np.int64], dict[str, Floats]]:
    """The order in which ranx ranks, (Q, N), for ties are broken at its will; and its metrics."""
    told = {
        "run": {
            f"q{q:02}": {str(item): score for item, score in enumerate(row)}
            for q, row in enumerate(scores.tolist())
        },
        "qrels": {f"q{q:02}": {str(i): 1 for i in items} for q, items in enumerate(relevant)},
        "metrics": [f"{name}@{k}" for name in NAMES.values() for k in KS],
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    order = np.array([[int(item) for item in row] for row in found["order"]])
    return order, {name: np.array(values) for name, values in found["values"].items()}


def test_metrics_are_those_of_ranx() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, size=(QUERIES, ITEMS)).astype(np.float64)
    wanted = rng.random((QUERIES, ITEMS)) < rng.random((QUERIES, 1)) ** 2 * 0.9
    wanted[np.arange(QUERIES), rng.integers(0, ITEMS, QUERIES)] = True
    queries, items = np.nonzero(wanted)
    relevant = Ragged.group(queries, items, QUERIES)
    ranked, theirs = by_ranx(scores, relevant)
    in_order = np.take_along_axis(scores, ranked, axis=1)
    assert (np.diff(in_order, axis=1) <= 0).all()
    assert (np.diff(in_order, axis=1) == 0).mean() > 0.8, "most scores are shared"
    for k in KS:
        ours = ranking_metrics(ranked, relevant, k)
        # ranx divides the precisions by all relevant items, we by as many as the list can show.
        ours[f"map@{k}"] *= np.minimum(num_relevant(relevant), k) / num_relevant(relevant)
        for name, other in NAMES.items():
            assert ours[f"{name}@{k}"] == pytest.approx(theirs[f"{other}@{k}"], abs=1e-12)
