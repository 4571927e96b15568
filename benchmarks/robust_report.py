"""Figures of `benchmarks.robust` over seeds: paired tests, verdicts, and the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.robust_models import CONTENDERS, METRICS, K
from twotower.evaluation.significance import paired_test
from twotower.workflow.comparison.contenders.classic import TITLES

LEVEL = 0.05


def summary(found: Mapping[str, list[dict[str, Any]]], contenders: Sequence[str]) -> dict[str, Any]:
    """Figures over seeds, tests, verdicts."""
    models = {name: over_seeds(runs) for name, runs in found.items()}
    others = [name for name in models if name not in CONTENDERS]
    best = max(others, key=lambda name: float(models[name][METRICS[0]]))
    slowest = max(models[name]["seconds"] for name in others)
    tests: dict[str, Any] = {}
    for contender in contenders:
        ours = per_user(found[contender])
        against = {other: tested(ours, per_user(found[other])) for other in others}
        tests[contender] = {
            "verdict": verdict(against, best),
            "time_ratio": round(models[contender]["seconds"] / slowest, 2),
            "against": against,
        }
    return {"models": models, "best_baseline": best, "contenders": tests}


def over_seeds(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and what each run has said of itself."""
    told = [
        {key: value for key, value in run.items() if key not in ("per_query", "metrics")}
        for run in runs
    ]
    return {
        **{
            metric: round(float(np.mean([run["metrics"][metric] for run in runs])), 6)
            for metric in METRICS
        },
        "seconds": round(float(np.mean([run["seconds"] for run in runs])), 3),
        "runs": told,
    }


def per_user(runs: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """(Q,) each user's mean over seeds."""
    values = np.array([run["per_query"][METRICS[0]] for run in runs], dtype=np.float64)
    return np.asarray(values.mean(axis=0))


def tested(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, float]:
    """The paired test of a contender and a baseline."""
    found = paired_test(ours, theirs, rng=np.random.default_rng(0))
    return {
        "difference": round(found.difference, 6),
        "low": round(found.low, 6),
        "high": round(found.high, 6),
        "p": float(f"{found.p_value:.3g}"),
    }


def verdict(against: Mapping[str, Mapping[str, float]], best: str) -> str:
    """See the docstring of the module."""
    clear = {name: test for name, test in against.items() if test["p"] < LEVEL}
    if any(test["difference"] < 0 for test in clear.values()):
        return "behind"
    return "ahead" if best in clear else "level"


# --- all cells --------------------------------------------------------------------------------


def counts(cells: Mapping[str, Any], contenders: Sequence[str]) -> dict[str, dict[str, int]]:
    """Contender -> verdict -> number of cells."""
    return {
        contender: {
            word: sum(cell["contenders"][contender]["verdict"] == word for cell in cells.values())
            for word in ("ahead", "level", "behind")
        }
        for contender in contenders
    }


COLOURS = {"ahead": "green", "level": "yellow", "behind": "red"}


def rendered(cells: Mapping[str, Any], contenders: Sequence[str]) -> Table:
    """A row a cell."""
    table = Table(title=f"ndcg@{K}, all items ranked, seen ones masked", title_justify="left")
    table.add_column("cell", no_wrap=True)
    for head in ("users", "items", "rows"):
        table.add_column(head, justify="right")
    table.add_column("best baseline", no_wrap=True)
    for contender in contenders:
        table.add_column(contender, no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("shares", no_wrap=True)
    for name, cell in cells.items():
        best = cell["best_baseline"]
        ratios = [f"{cell['contenders'][c]['time_ratio']:.1f}" for c in contenders]
        table.add_row(
            name,
            *(f"{cell[size]:,}" for size in ("users", "items", "rows")),
            f"{TITLES[best][0]} {cell['models'][best][METRICS[0]]:.4f}",
            *(shown(cell, contender) for contender in contenders),
            " ".join(ratios),
            ", ".join(shares(cell["models"][contender]) for contender in contenders),
        )
    return table


def shares(model: Mapping[str, Any]) -> str:
    """What each part of the blend has of the scores, in per cent, the mean over seeds: towers,
    neighbours, popularity; nothing without a blend."""
    runs = [run["shares"] for run in model["runs"] if run["shares"]]
    if not runs:
        return ""
    return "/".join(f"{100 * np.mean([run[name] for run in runs]):.0f}" for name in runs[0])


def shown(cell: Mapping[str, Any], contender: str) -> str:
    """A contender's metric, its difference to the best baseline with p, and the verdict."""
    found, best = cell["contenders"][contender], cell["best_baseline"]
    test, word = found["against"][best], found["verdict"]
    ours = cell["models"][contender][METRICS[0]]
    colour = COLOURS[word]
    return f"{ours:.4f} ({test['difference']:+.4f}, p {test['p']:.1g}) [{colour}]{word}[/{colour}]"
