"""With the same global batch any number of processes learns the same: real processes, over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from twotower.data.synthetic.shop import generate, write

ROOT = Path(__file__).resolve().parents[2]
STEPS = 50
CASES: dict[str, tuple[str, list[str]]] = {
    "all items, ids smoothed in each step": ("", []),
    "all items, ids smoothed now and then": ("", ["retriever.smoothing_every=5"]),
    "sampled items, row-wise Adagrad": (
        "",
        [
            "retriever.max_full_softmax=10",
            "retriever.smoothing_layers=0",
            "training.table_optimizer=rowwise_adagrad",
        ],
    ),
    "tables in bf16": ("", ["retriever.table_precision=bf16", "retriever.max_full_softmax=10"]),
    "tables in bf16, smoothed in each step": ("", ["retriever.table_precision=bf16"]),
    "the other items of the batch and sampled ones": (
        "",
        [
            "retriever.loss=in_batch_softmax",
            "retriever.mixed_negatives=true",
            "retriever.smoothing_layers=0",
            "training.batch_size=256",
        ],
    ),
    "features and new items": (
        """
        [features.user.id]
        dropout = 0.0
        [features.user.region]
        type = "category"
        [features.item.id]
        dropout = 0.0
        [features.item.genres]
        type = "categories"
        """,
        ["retriever.dropout=0"],
    ),
    "histories, all items": ("HISTORY", ["retriever.dropout=0", "training.batch_size=16"]),
    "histories, sampled items, averaged weights": (
        "HISTORY",
        [
            "retriever.dropout=0",
            "retriever.max_full_softmax=10",
            "training.batch_size=16",
            "training.average_steps=20",
        ],
    ),
}
HISTORY = """
[features.user.history]
type = "history"
dropout = 0.0
[features.user.id]
dropout = 0.0
[features.item.id]
dropout = 0.0
"""
TABLES = """
[data]
interactions = "interactions.parquet"
users = "users.parquet"
items = "items.parquet"
[evaluation]
k = 10
"""


def torchrun(number: int, *arguments: str) -> list[str]:
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(number)]
    return [sys.executable, *start, *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}/src:{ROOT}"}


def found_by(number: int, folder: Path) -> dict[str, Any]:
    script, cases = str(ROOT / "tests/parallel/steps.py"), str(folder / "cases.json")
    out = folder / f"found-{number}.json"
    command = [sys.executable, script] if number == 1 else torchrun(number, script)
    subprocess.run([*command, cases, str(out)], env=environment(), check=True, timeout=150)
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("steps")
    write(generate(num_users=300, num_items=200, num_interactions=9_000, seed=3), path)
    cases = {}
    for place, (name, (features, overrides)) in enumerate(CASES.items()):
        config = path / f"{place}.toml"
        config.write_text(TABLES + (HISTORY if features == "HISTORY" else features))
        cases[name] = {
            "config": str(config),
            "overrides": [*TRAINING, *overrides],
        }
    (path / "cases.json").write_text(json.dumps(cases))
    return path


TRAINING = ("training.batch_size=32", "training.epochs=6", "training.patience=6")


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Any]:
    return found_by(1, folder)


@pytest.mark.parametrize(
    "number", [2, pytest.param(4, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
def test_the_same_losses_and_the_same_validation(
    number: int, folder: Path, alone: dict[str, Any]
) -> None:
    together = found_by(number, folder)
    for name, expected in alone.items():
        losses = expected["losses"][:STEPS]
        if "bf16" in name:  # rounded at random
            assert together[name]["losses"][:STEPS] == pytest.approx(losses, rel=0.02), name
            assert together[name]["last"]["ndcg@10"] > 0.8 * expected["last"]["ndcg@10"], name
            assert together[name]["total"] == pytest.approx(expected["total"], rel=0.02), name
            continue
        assert len(losses) == STEPS, name
        assert together[name]["losses"][:STEPS] == pytest.approx(losses, abs=1e-5), name
        for metric in ("ndcg@10", "recall@10"):
            assert together[name]["last"][metric] == pytest.approx(
                expected["last"][metric], abs=1e-3
            ), name
        assert together[name]["total"] == pytest.approx(expected["total"], rel=1e-4), name
