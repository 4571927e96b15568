"""Step 4: the item tower, from an id alone to metadata, texts and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.course.results import BuiltNode, Choices, CompileOutcome, Figure, Watch
from twotower.course.shop import COVER_SIZE, K, dataset_of_many_items
from twotower.course.training import (
    NDCG,
    compared,
    count,
    encoded_width,
    popularity,
    train_towers,
)
from twotower.data.dataset.dataset import Dataset
from twotower.evaluation.baseline_verdict import SIGNIFICANCE_LEVEL, as_p
from twotower.evaluation.significance import paired_p_value
from twotower.workflow.evaluate import Evaluation, evaluate

EPOCHS = 6
METADATA: dict[str, Any] = {
    "genres": {"type": "categories"},
    "price": {"type": "number", "log": True},
    "release_year": {"type": "number"},
}
TEXT: dict[str, Any] = {"description": {"type": "text"}}
PICTURES: dict[str, Any] = {"cover": {"type": "image", "size": COVER_SIZE}}
READS: dict[str, dict[str, Any]] = {
    "id": {},
    "metadata": METADATA,
    "text": {**METADATA, **TEXT},
    "pictures": {**METADATA, **TEXT, **PICTURES},
}
"""Choice -> the features that the item tower reads besides the id."""


def item_tower(choices: Choices, watch: Watch) -> CompileOutcome:
    """Train with an item tower that reads the chosen features, and rank new items by it."""
    reads = str(choices["reads"])
    data = dataset_of_many_items(
        {"item": READS[reads]},
        with_covers=reads == "pictures",
        retriever={"embedding_dim": 32, "temperature": 0.2, "smoothing_layers": 0},
        training={
            "epochs": EPOCHS,
            "patience": EPOCHS,
            # Few, large steps: each of them encodes all items.
            "batch_size": 100,
            "learning_rate": 0.06,
            "layer_learning_rate": 0.007,
        },
    )
    recommender, _ = train_towers(data, watch)
    model, popular = evaluate(recommender, data.validation, k=K), popularity(data)
    new = evaluate(recommender, data.validation, k=K, candidates="cold")
    by_chance = shuffled(new, data)
    chance = paired_p_value(new.per_query[NDCG] - by_chance)
    found, of_new, of_chance = model.metrics[NDCG], new.metrics[NDCG], float(by_chance.mean())
    if reads == "id":
        verdict = "id_only"
    else:
        known = of_new > of_chance and chance < SIGNIFICANCE_LEVEL
        verdict = "knows_new_items" if known else "knows_little"
    towers = recommender.served.towers
    inputs = encoded_width(towers.item_tower)
    return CompileOutcome(
        verdict,
        {
            "new": of_new,
            "new_items": new.num_items,
            "learned_from": data.items.end_warm - data.items.first_known,
            "chance": of_chance,
            "p": as_p(chance),
            "ndcg": found,
            "popular": popular.metrics[NDCG],
            "above": compared(found, popular.metrics[NDCG]),
        },
        node=BuiltNode(
            shapes=(("encoded features", f"(N, {inputs})"), ("item vectors", "(N, 32)")),
            params=count(towers.item_tower)
            + (0 if towers.cold_tower is None else count(towers.cold_tower)),
            counted="item tower and tower of new items",
        ),
        ndcg=found,
        also=("of new items", of_new),
        figures=(
            Figure(
                "ndcg@10 on the validation rows, all items",
                (("yours", found), ("most popular", popular.metrics[NDCG])),
            ),
            Figure(
                "ndcg@10 of new items among themselves",
                (("yours", of_new), ("by chance", of_chance)),
            ),
        ),
    )


def shuffled(found: Evaluation, data: Dataset) -> NDArray[np.float64]:
    """(Q,) ndcg@10 to be expected of the queries of an evaluation among new items if these were
    shuffled for each."""
    rows = data.validation.take(np.flatnonzero(data.validation.item_num >= data.items.end_warm))
    relevant = rows.by_user().take(found.user_num).lengths
    gains = 1 / np.log2(np.arange(2, K + 2))
    ideal = np.cumsum(gains)[np.minimum(relevant, K) - 1]
    expected: NDArray[np.float64] = relevant / found.num_items * gains.sum() / ideal
    return expected
