"""Step 9: cold start, and a comparison that is fair to the baselines."""

from __future__ import annotations

import math
from typing import Any

from twotower.course.results import BuiltNode, Choices, CompileOutcome, Figure, ProgressEvent, Watch
from twotower.course.shop import K, dataset, shop
from twotower.course.training import NDCG, compared, count, train_towers, validation_ndcg
from twotower.data.dataset.dataset import Dataset
from twotower.data.synthetic.shop import best_reachable
from twotower.evaluation.baseline_verdict import as_p, p_value
from twotower.models.baselines import EASE, Baseline, ItemKNN, MostPopular, RecentPopularity
from twotower.serving.answer.recommender import Recommender
from twotower.workflow.evaluate import Evaluation, evaluate
from twotower.workflow.training.train import known_events

SIGNIFICANT = 0.05
FEATURES: dict[str, Any] = {
    "user": {
        "age": {"type": "number"},
        "region": {"type": "category"},
        "occupation": {"type": "category"},
    },
    "item": {
        "genres": {"type": "categories"},
        "price": {"type": "number", "log": True},
        "release_year": {"type": "number"},
    },
}
HISTORY: dict[str, Any] = {"history": {"type": "history", "encoder": "mean", "max_length": 20}}
READS: dict[str, dict[str, Any]] = {
    "ids": {},
    "features": FEATURES,
    "history": {**FEATURES, "user": {**FEATURES["user"], **HISTORY}},
}
"""Choice -> the features of both sides."""
TOWERS: dict[str, dict[str, Any]] = {
    "ids": {},
    "features": {"temperature": 0.3, "cold_cost": 0.05},
    "history": {"temperature": 0.2, "cold_cost": 0.05},
}
WITH_LAYERS = {"learning_rate": 0.02, "layer_learning_rate": 0.01}
RATES = {"ids": {}, "features": WITH_LAYERS, "history": WITH_LAYERS}
EPOCHS = {"ids": 12, "features": 12, "history": 6}
TITLES = {
    "popularity": "most popular",
    "recent_popularity": "recent popularity",
    "item_knn": "item-kNN",
    "ease": "EASE",
}
WEAK: tuple[type[Baseline[Any]], ...] = (MostPopular,)
STRONG: tuple[type[Baseline[Any]], ...] = (MostPopular, RecentPopularity, ItemKNN, EASE)
SLICES = {"warm": "known users, known items", "cold_user": "new users", "cold_item": "new items"}


def comparison(choices: Choices, watch: Watch) -> CompileOutcome:
    """Train the chosen model and compare it with the chosen baselines on the test rows."""
    reads, strong = str(choices["reads"]), choices["against"] == "strong"
    data = dataset(
        READS[reads],
        retriever={"embedding_dim": 16, **TOWERS[reads]},
        training={"epochs": EPOCHS[reads], "patience": 3, **RATES[reads]},
    )
    recommender, _ = train_towers(data, watch)
    model = evaluate(with_later_events(recommender, data), data.test, k=K)
    kinds = STRONG if strong else WEAK
    found: dict[str, Evaluation] = {}
    for number, kind in enumerate(kinds, start=1):
        watch.check()
        watch.report(ProgressEvent(f"baseline: {TITLES[kind.name]}", number, len(kinds)))
        baseline = kind.fit(data.train, seen=known_events(data).items)
        found[kind.name] = evaluate(baseline, data.test, k=K)
    best = max(found, key=lambda name: found[name].metrics[NDCG])
    chance = p_value(model, found[best], NDCG)
    ahead = model.metrics[NDCG] > found[best].metrics[NDCG]
    bound = best_reachable(shop(), data.parts.test, K)[NDCG]
    towers = recommender.served.towers
    return CompileOutcome(
        (
            "weak"
            if not strong
            else "tie"
            if chance >= SIGNIFICANT
            else "ahead"
            if ahead
            else "behind"
        ),
        {
            "ndcg": model.metrics[NDCG],
            "best": TITLES[best],
            "theirs": found[best].metrics[NDCG],
            "p": as_p(chance),
            "new_items": by_slice(model, "cold_item"),
            "new_users": by_slice(model, "cold_user"),
            "known": by_slice(model, "warm"),
            "easier": easier(model, found["popularity"]),
            "above": compared(model.metrics[NDCG], found[best].metrics[NDCG]),
            "bound": bound,
            "paths": ", ".join(
                f"`{name}` for {number} users" for name, number in model.paths.items() if number
            ),
        },
        node=BuiltNode(
            shapes=(("user vectors", "(B, 16)"), ("answer", f"(B, {K})")),
            params=count(towers),
            counted="user tower and item tower",
        ),
        ndcg=validation_ndcg(recommender, data),
        figures=figures(model, found, bound),
    )


def figures(
    model: Evaluation, baselines: dict[str, Evaluation], bound: float
) -> tuple[Figure, ...]:
    """The model beside the baselines and the best reachable, and the model by slice."""
    return (
        Figure(
            "ndcg@10 on the test rows",
            (
                ("yours", model.metrics[NDCG]),
                *((TITLES[name], e.metrics[NDCG]) for name, e in baselines.items()),
                ("best reachable", bound),
            ),
        ),
        Figure(
            "ndcg@10 of your model by slice",
            tuple((title, by_slice(model, name)) for name, title in SLICES.items()),
        ),
    )


def with_later_events(recommender: Recommender, data: Dataset) -> Recommender:
    """The same model, which knows the validation rows as seen by the time of the test."""
    return Recommender.build(
        recommender.served.towers, data.train, data.config, histories=known_events(data)
    )


def easier(model: Evaluation, popularity: Evaluation) -> str:
    """What popularity has for new users and known ones, if the former are served better."""
    slices = ("cold_user", "warm")
    (new, known), (theirs_new, theirs_known) = (
        [by_slice(found, name) for name in slices] for found in (model, popularity)
    )
    if compared(new, known) != "above":
        return ""
    if theirs_new > theirs_known:
        return (
            ' New users are served better than known ones, but so they are by "most popular" '
            f"({theirs_new:.3f} against {theirs_known:.3f}): what a user chooses first is easier "
            "to guess than what is left once the obvious has been chosen."
        )
    return ' New users are served better than known ones; by "most popular", they are not.'


def by_slice(found: Evaluation, name: str) -> float:
    """ndcg@10 of a slice; 0 where it has no rows."""
    value = found.slices[name][NDCG]
    return 0.0 if value is None or math.isnan(value) else float(value)
