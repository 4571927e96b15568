"""Train on a real data set by a config that names its files, and measure the test part once.

What the benchmarks `gowalla`, `yelp2018` and `ml_1m_features` share.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from twotower.config import load_config
from twotower.evaluation.significance import paired_test
from twotower.workflow.evaluate import Evaluation
from twotower.workflow.training.train import Outcome, train_bundle


def peak_memory_gb() -> float:
    """The largest resident set of this process so far, in GB (1e9 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def run_config(toml: str, overrides: list[str]) -> tuple[dict[str, Any], Outcome, Evaluation]:
    """`twotower train` on a config text: what to print of it, how it went, the test figures."""
    before = peak_memory_gb()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "twotower.toml"
        path.write_text(toml, encoding="utf-8")
        start, started = time.process_time(), time.perf_counter()
        outcome = train_bundle(
            load_config(path, overrides), Path(folder) / "bundle", console=Console(stderr=True)
        )
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - start
    evaluation = outcome.evaluation
    if evaluation is None:
        sys.exit("the data set has no test part")
    config = tomllib.loads(toml)
    for name in ("interactions", "users", "items"):
        if name in config["data"]:
            config["data"][name] = Path(config["data"][name]).name
    if "test" in config["data"].get("split", {}):
        config["data"]["split"]["test"] = Path(config["data"]["split"]["test"]).name
    return (
        {
            "configuration": config,
            "overrides": overrides,
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu_seconds, 1),
            "peak_memory_gb": round(peak_memory_gb(), 2),
            "memory_before_gb": round(before, 2),
            "best_epoch": outcome.result.best_epoch,
            "validation": outcome.result.epochs[outcome.result.best_epoch - 1],
        },
        outcome,
        evaluation,
    )


def lightgcn_split(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """A data set of the LightGCN split: ids only, epoch chosen on a validation part cut from
    train, refit on all of train, the test part measured once."""
    toml = f"""
[data]
interactions = "{folder / "train.parquet"}"
[data.split]
method = "given"
test = "{folder / "test.parquet"}"
[training]
refit = "train"
"""
    result, _, evaluation = run_config(toml, overrides)
    return {
        **result,
        "protocol": "full_catalog, seen items masked, epoch chosen on 10 % a user of train, "
        "refit on all of train",
        "metrics": evaluation.metrics,
        "evaluation": evaluation.to_json(),
    }


def ndcg_difference(first: Evaluation, second: Evaluation, part: str | None) -> dict[str, Any]:
    """The paired test of ndcg@k on one slice, or on all rows: the first minus the second."""
    name = f"ndcg@{first.k}"
    pair = [e.per_query if part is None else e.per_slice[part] for e in (first, second)]
    return asdict(paired_test(*(values[name] for values in pair), rng=np.random.default_rng(0)))
