"""`twotower demo`: a synthetic shop from its log to recommendations, with an honest comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

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

SHOWN = ("warm", "cold_user", "cold_item")
"""Slices that the table shows beside the mean over all."""
SIGNIFICANT = 0.01


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
    recommender.save(
        folder / "bundle",
        metrics=evaluation.to_json(),
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
    """A model trained on the dataset as its config says, how training went, and how the model does
    on the test part."""
    recommender, result = fit_part(dataset, None, console=progress, title=title)
    evaluation = measure(recommender, dataset)
    assert evaluation is not None
    return recommender, result, evaluation


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
    title = f"Held-out purchases, ranked among all items, k = {k}; the slices in ndcg"
    table = Table(title=title, title_justify="left")
    table.add_column("model", no_wrap=True)
    for head in ("recall", "ndcg", *(part.replace("_", " ") for part in SHOWN)):
        table.add_column(head, justify="right")
    for name, evaluation in contest.evaluations.items():
        slices = evaluation.slices
        cells: list[float | None] = [evaluation.metrics[f"{m}@{k}"] for m in ("recall", "ndcg")]
        cells += [slices[part][f"ndcg@{k}"] for part in SHOWN]
        table.add_row(name, *("" if cell is None else f"{cell:.3f}" for cell in cells))
    ceiling = [contest.best[f"recall@{k}"], contest.best[f"ndcg@{k}"]]
    table.add_row("[dim]best reachable[/dim]", *(f"[dim]{value:.3f}[/dim]" for value in ceiling))
    return table


def verdict(contest: Contest) -> str:
    """Who won, by how much, and whether chance could have done it."""
    k, test = contest.k, contest.test
    ndcg = {name: e.metrics[f"ndcg@{k}"] for name, e in contest.evaluations.items()}
    two_tower, factorization = ndcg["two-tower"], ndcg["matrix factorization"]
    better = "better" if two_tower > factorization else "worse"
    sure = "beyond" if test.p_value < SIGNIFICANT else "not beyond"
    return (
        f"The two-tower ranks {abs(two_tower / factorization - 1):.0%} {better} than matrix "
        f"factorization (ndcg@{k} {two_tower:.3f} against {factorization:.3f}, {sure} chance: "
        f"p = {test.p_value:.1g} over {test.num_queries:,} users), "
        f"{two_tower / max(ndcg['popularity'], 1e-9):.1f} times as well as popularity, and reaches "
        f"{two_tower / contest.best[f'ndcg@{k}']:.0%} of what anybody could who knew the true "
        "tastes."
    )


def show_recommendations(recommender: Recommender, dataset: Dataset, console: Console) -> None:
    """What one user took last, and what is recommended next."""
    users = dataset.users
    history = dataset.train.by_user()
    num = int(np.argmax(history.lengths))
    user_id = users.ids[num]
    items = dataset.items
    taken = ", ".join(f"{items.frame['title'][int(item)]!r}" for item in history[num][-3:])
    console.print(f"\nUser {user_id} last took {taken}. Recommended next:", highlight=False)
    table = Table(box=None)
    for name in ("item", "title", "genres", "score", "why"):
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
    """What to type next."""
    user = dataset.train.users.ids[dataset.users.first_known]
    item = dataset.items.ids[dataset.items.first_known]
    return (
        f"\nNext:\n"
        f"  .venv/bin/twotower recommend {folder / 'bundle'} --user {user}\n"
        f"  .venv/bin/twotower similar {folder / 'bundle'} --item {item}\n"
        f"  .venv/bin/twotower evaluate {folder / 'bundle'}\n"
        f"  .venv/bin/twotower serve {folder / 'bundle'}   # http://127.0.0.1:8000\n"
        f"  make studio   # with a history and a ranker: clicks count\n"
        f"  .venv/bin/twotower init shop --interactions YOUR.csv   # your own data"
    )
