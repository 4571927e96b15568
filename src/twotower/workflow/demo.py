"""`twotower demo`: a synthetic shop from its log to recommendations, with an honest comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from twotower.config import FeaturesConfig, load_config
from twotower.data.dataset import Dataset
from twotower.data.synthetic import best_reachable, generate, write
from twotower.evaluation.significance import PairedTest, paired_test
from twotower.models.popularity import Popularity
from twotower.workflow.evaluate import Evaluation, evaluate
from twotower.workflow.train import fit_part, known_items, measure

SHOWN = ("warm", "cold_user", "cold_item")
"""Slices that the table shows beside the mean over all."""


@dataclass(frozen=True)
class Contest:
    """The demo's models on the same held-out purchases.

    Attributes:
        k: the cut-off.
        evaluations: name -> evaluation, weakest first.
        best: the best reachable metrics, from the generator's own probabilities.
        test: ndcg@k of the two-tower against matrix factorization, user by user.
    """

    k: int
    evaluations: Mapping[str, Evaluation]
    best: Mapping[str, float]
    test: PairedTest


def run_demo(folder: Path, *, console: Console, progress: Console, seed: int = 0) -> None:
    """Generate, train, compare, bundle, recommend; ends by saying what to type next.

    Args:
        folder: gets `shop/` (the tables and their twotower.toml) and `bundle/`.
        console: gets the results.
        progress: gets what is going on meanwhile.
        seed: of the synthetic shop.
    """
    shop = folder / "shop"
    progress.print(f"Drawing a synthetic shop into {shop} ...", highlight=False)
    catalogue = generate(seed=seed)
    shop.mkdir(parents=True, exist_ok=True)
    (shop / "twotower.toml").write_text(write(catalogue, shop), encoding="utf-8")
    dataset = Dataset.read(load_config(shop / "twotower.toml"))
    k = dataset.config.evaluation.k

    recommender, evaluation = trained(dataset, folder, "two-tower", progress)
    factorization = trained(ids_only(dataset), folder, "matrix factorization", progress)[1]
    popularity = evaluate(
        Popularity.fit(dataset.train, seen=known_items(dataset)), dataset.test, k=k
    )
    contest = Contest(
        k=k,
        evaluations={
            "popularity": popularity,
            "matrix factorization": factorization,
            "two-tower": evaluation,
        },
        best=best_reachable(catalogue, dataset.parts.test, k),
        test=paired_test(
            evaluation.per_query[f"ndcg@{k}"],
            factorization.per_query[f"ndcg@{k}"],
            rng=np.random.default_rng(seed),
        ),
    )
    recommender.save(folder / "bundle", metrics=evaluation.to_json(), heldout=dataset.parts.test)
    console.print(contest_table(contest))
    console.print(verdict(contest), highlight=False)
    show_recommendations(recommender, dataset, console)
    console.print(next_steps(folder, dataset), highlight=False)


def trained(
    dataset: Dataset, folder: Path, title: str, progress: Console
) -> tuple[Recommender, Evaluation]:
    """A model trained on the dataset as its config says, and how it does on the test part."""
    recommender, _ = fit_part(dataset, None, resume=False, log=None, console=progress, title=title)
    evaluation = measure(recommender, dataset)
    assert evaluation is not None
    return recommender, evaluation


def ids_only(dataset: Dataset) -> Dataset:
    """The same rows for plain matrix factorization: two id tables, no layer, no smoothing, but the
    same loss and the same early stopping."""
    config = dataset.config
    bare = config.model_copy(
        update={
            "features": FeaturesConfig.model_validate({}),
            "retriever": config.retriever.model_copy(update={"hidden": (), "smoothing_layers": 0}),
        }
    )
    return Dataset.from_parts(bare, dataset.tables, dataset.parts)


def contest_table(contest: Contest) -> Table:
    """Models as rows; recall and ndcg over all, ndcg by slice."""
    k = contest.k
    table = Table(title="Held-out purchases, ranked among all items", title_justify="left")
    table.add_column("model")
    heads = [f"recall@{k}", f"ndcg@{k}", *(f"ndcg@{k} {name}" for name in SHOWN)]
    for head in heads:
        table.add_column(head.replace("_", " "), justify="right")
    for name, evaluation in contest.evaluations.items():
        slices = evaluation.to_json()["slices"]
        cells = [evaluation.metrics[f"recall@{k}"], evaluation.metrics[f"ndcg@{k}"]]
        cells += [(slices[part].get("metrics") or {}).get(f"ndcg@{k}") for part in SHOWN]
        table.add_row(name, *("" if cell is None else f"{cell:.3f}" for cell in cells))
    best = [contest.best[f"recall@{k}"], contest.best[f"ndcg@{k}"]]
    table.add_row("[dim]best reachable[/dim]", *(f"[dim]{cell:.3f}[/dim]" for cell in best))
    return table
