"""`twotower demo`: from the log of a synthetic shop to recommendations, with a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from twotower.atomic import write_text
from twotower.config import FeaturesConfig, load_config
from twotower.data.dataset.dataset import Dataset
from twotower.data.synthetic.shop import best_reachable, generate, write
from twotower.evaluation.significance import PairedTest, paired_test
from twotower.models.baselines.popularity_ranker import PopularityRanker
from twotower.serving.answer.recommender import Recommender
from twotower.training.trainer import TrainResult
from twotower.workflow.evaluate import Evaluation, evaluate
from twotower.workflow.training.train import fit_part, known_events, measure
from twotower.workflow.training.training_record import curves

SHOWN_SLICES = ("warm", "cold_user", "cold_item")
"""Slices shown in the table."""
SIGNIFICANT = 0.01


@dataclass(frozen=True)
class Contest:
    """Evaluations of the demo's models on the same held-out purchases.

    Attributes:
        k: cut-off of the metrics.
        evaluations: model -> evaluation, weakest first.
        best: the highest attainable metrics, from the true probabilities of the generator.
        test: paired test of the two-tower against matrix factorization in ndcg@k.
    """

    k: int
    evaluations: Mapping[str, Evaluation]
    best: Mapping[str, float]
    test: PairedTest


def run_demo(folder: Path, *, console: Console, progress: Console, seed: int = 0) -> None:
    """Generate a shop, train, compare, write a bundle, recommend, and print the next commands.

    Args:
        folder: output folder, for `shop/` (tables and twotower.toml) and `bundle/`.
        console: for the results.
        progress: for progress messages.
        seed: random seed of the synthetic shop.
    """
    shop = folder / "shop"
    progress.print(f"Generating a synthetic shop in {shop} ...", highlight=False)
    catalogue = generate(seed=seed)
    shop.mkdir(parents=True, exist_ok=True)
    write_text(shop / "twotower.toml", write(catalogue, shop))
    dataset = Dataset.read(load_config(shop / "twotower.toml"))
    k = dataset.config.evaluation.k

    recommender, result, evaluation = trained(dataset, "two-tower", progress)
    *_, factorization = trained(ids_only(dataset), "matrix factorization", progress)
    popularity = evaluate(
        PopularityRanker.fit(dataset.train, seen=known_events(dataset).items), dataset.test, k=k
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
    baselines = {"popularity": popularity, "matrix_factorization": factorization}
    recommender.save(
        folder / "bundle",
        metrics=replace(evaluation, baselines=baselines).to_json(),
        heldout=dataset.parts.test,
        training=curves(result),
    )
    console.print(contest_table(contest))
    console.print(verdict(contest), highlight=False)
    show_recommendations(recommender, dataset, console)
    console.print(next_steps(folder, dataset), highlight=False)


def trained(
    dataset: Dataset, title: str, progress: Console
) -> tuple[Recommender, TrainResult, Evaluation]:
    """Train a model as configured and evaluate it on the test part."""
    recommender, result = fit_part(dataset, None, console=progress, title=title)
    evaluation = measure(recommender, dataset)
    assert evaluation is not None
    return recommender, result, evaluation


def ids_only(dataset: Dataset) -> Dataset:
    """The same rows for plain matrix factorization: two id tables, no layers and no smoothing, with
    the same loss and early stopping."""
    config = dataset.config
    bare = config.model_copy(
        update={
            "features": FeaturesConfig.model_validate({}),
            "retriever": config.retriever.model_copy(update={"hidden": (), "smoothing_layers": 0}),
        }
    )
    return Dataset.from_parts(bare, dataset.tables, dataset.parts)


def contest_table(contest: Contest) -> Table:
    """A table of the models: recall and ndcg for all users, ndcg by slice."""
    k = contest.k
    title = f"Held-out purchases, full catalogue, k = {k}; ndcg by slice"
    table = Table(title=title, title_justify="left")
    table.add_column("model", no_wrap=True)
    for head in ("recall", "ndcg", *(part.replace("_", " ") for part in SHOWN_SLICES)):
        table.add_column(head, justify="right")
    for name, evaluation in contest.evaluations.items():
        slices = evaluation.slices
        cells: list[float | None] = [evaluation.metrics[f"{m}@{k}"] for m in ("recall", "ndcg")]
        cells += [slices[part][f"ndcg@{k}"] for part in SHOWN_SLICES]
        table.add_row(name, *("" if cell is None else f"{cell:.3f}" for cell in cells))
    ceiling = [contest.best[f"recall@{k}"], contest.best[f"ndcg@{k}"]]
    table.add_row("[dim]upper bound[/dim]", *(f"[dim]{value:.3f}[/dim]" for value in ceiling))
    return table


def verdict(contest: Contest) -> str:
    """The two-tower against matrix factorization, popularity and the upper bound."""
    k, test = contest.k, contest.test
    ndcg = {name: e.metrics[f"ndcg@{k}"] for name, e in contest.evaluations.items()}
    two_tower, factorization = ndcg["two-tower"], ndcg["matrix factorization"]
    better = "better" if two_tower > factorization else "worse"
    significance = "significant" if test.p_value < SIGNIFICANT else "not significant"
    return (
        f"The two-tower is {abs(two_tower / factorization - 1):.0%} {better} than matrix "
        f"factorization (ndcg@{k} of {two_tower:.3f} against {factorization:.3f}, {significance}: "
        f"p = {test.p_value:.1g}, {test.num_queries:,} users) and "
        f"{two_tower / max(ndcg['popularity'], 1e-9):.1f} times as good as popularity. It reaches "
        f"{two_tower / contest.best[f'ndcg@{k}']:.0%} of the upper bound, a ranking by the true "
        "preferences."
    )


def show_recommendations(recommender: Recommender, dataset: Dataset, console: Console) -> None:
    """Print the latest items of one user and the recommendations for that user."""
    users = dataset.users
    history = dataset.train.by_user()
    num = int(np.argmax(history.lengths))
    user_id = users.ids[num]
    items = dataset.items
    latest = ", ".join(f"{items.frame['title'][int(item)]!r}" for item in history[num][-3:])
    console.print(f"\nLatest items of user {user_id}: {latest}. Recommendations:", highlight=False)
    table = Table(box=None)
    for name in ("item", "title", "genres", "score", "reason"):
        table.add_column(name)
    for entry in recommender.recommend([user_id], k=5)[0].items:
        genres = ", ".join(entry.columns["genres"])
        table.add_row(
            str(entry.item_id),
            str(entry.columns["title"]),
            genres,
            f"{entry.score:.2f}",
            entry.reason,
        )
    console.print(table)


def next_steps(folder: Path, dataset: Dataset) -> str:
    """The next commands to try."""
    user = dataset.train.users.ids[dataset.users.first_known]
    item = dataset.items.ids[dataset.items.first_known]
    return (
        f"\nNext:\n"
        f"  .venv/bin/twotower recommend {folder / 'bundle'} --user {user}\n"
        f"  .venv/bin/twotower similar {folder / 'bundle'} --item {item}\n"
        f"  .venv/bin/twotower evaluate {folder / 'bundle'}\n"
        f"  .venv/bin/twotower serve {folder / 'bundle'}   # http://127.0.0.1:8000\n"
        f"                 new to the field? Open it and begin with Learn, a course in nine steps\n"
        f"  make studio   # a model with history and ranker, so clicks affect recommendations\n"
        f"  .venv/bin/twotower init shop --interactions YOUR.csv   # your own data"
    )
