"""Step 5: the user tower, from an id alone to a profile, a history and the context."""

from __future__ import annotations

from typing import Any

import polars as pl

from twotower.course.results import BuiltNode, Choices, CompileOutcome, Figure, Watch
from twotower.course.shop import K, dataset, shop
from twotower.course.training import (
    count,
    encoded_width,
    scale_figure,
    scale_values,
    train_towers,
    validation_ndcg,
)
from twotower.serving.answer.recommender import Recommender

PROFILE: dict[str, Any] = {
    "age": {"type": "number"},
    "region": {"type": "category"},
    "occupation": {"type": "category"},
}
HISTORY: dict[str, Any] = {"history": {"type": "history", "encoder": "mean", "max_length": 20}}
ITEMS: dict[str, Any] = {"genres": {"type": "categories"}}
READS: dict[str, dict[str, Any]] = {
    "id": {"item": ITEMS},
    "profile": {"user": PROFILE, "item": ITEMS},
    "history": {"user": {**PROFILE, **HISTORY}, "item": ITEMS},
    "context": {
        "user": {**PROFILE, **HISTORY},
        "item": ITEMS,
        "context": {"device": {"type": "category"}},
    },
}
"""Choice -> the features of both sides and of the request."""


def user_tower(choices: Choices, watch: Watch) -> CompileOutcome:
    """Train with a user tower that reads the chosen features, and see what a click changes."""
    reads = str(choices["reads"])
    data = dataset(
        READS[reads],
        retriever={"embedding_dim": 16, "temperature": 0.2, "smoothing_layers": 0},
        training={"epochs": 5, "patience": 5, "learning_rate": 0.02, "layer_learning_rate": 0.01},
    )
    recommender, _ = train_towers(data, watch)
    found = validation_ndcg(recommender, data)
    moved, paths = what_changes(recommender)
    has_history = reads in ("history", "context")
    works = "reads_the_device" if reads == "context" else "reads_clicks"
    verdict = works if moved else "history" if has_history else reads
    towers = recommender.served.towers
    inputs = encoded_width(towers.query_tower)
    return CompileOutcome(
        verdict,
        {"moved": moved, "path": paths, "reads": reads, **scale_values(found)},
        node=BuiltNode(
            shapes=(
                ("encoded features", f"(B, {inputs})"),
                *((("history", "(B, 20)"),) if has_history else ()),
                ("user vectors", "(B, 16)"),
            ),
            params=count(towers.query_tower),
            counted="user tower alone",
        ),
        ndcg=found,
        figures=(
            Figure(
                "A new user's list of ten after three clicks",
                (("other items than before", float(moved)), ("items in the list", float(K))),
            ),
            scale_figure(found),
        ),
    )


def what_changes(recommender: Recommender) -> tuple[int, str]:
    """How many of a new user's ten recommendations are others after three clicks, without those
    that are clicked; and the path that answered after them."""
    user = pl.DataFrame({"age": [30], "region": ["north"], "occupation": ["teacher"]})
    clicked = shop().items["item_id"].to_list()[:3]
    lists = [
        recommender.recommend_invented(user, k=K, histories=[history], exclude=clicked)[0]
        for history in ([], clicked)
    ]
    before, after = ({item.item_id for item in answer.items} for answer in lists)
    return len(after - before), lists[1].path
