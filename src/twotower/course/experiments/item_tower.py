"""Step 4: the item tower, from an id alone to metadata, texts and pictures."""

from __future__ import annotations

from typing import Any

from twotower.course.results import BuiltNode, Choices, CompileOutcome, Figure, Watch
from twotower.course.shop import K, dataset
from twotower.course.training import NDCG, count, encoded_width, train_towers, validation_ndcg
from twotower.workflow.evaluate import evaluate

EPOCHS = 8
METADATA: dict[str, Any] = {
    "genres": {"type": "categories"},
    "price": {"type": "number", "log": True},
    "release_year": {"type": "number"},
}
TEXT: dict[str, Any] = {"description": {"type": "text"}}
PICTURES: dict[str, Any] = {"cover": {"type": "image", "size": 8}}
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
    data = dataset(
        {"item": READS[reads]},
        covers=reads == "pictures",
        retriever={"embedding_dim": 16, "temperature": 0.3, "smoothing_layers": 0},
        training={
            "epochs": EPOCHS,
            "patience": EPOCHS,
            "learning_rate": 0.03,
            "layer_learning_rate": 0.005,
        },
    )
    recommender, _ = train_towers(data, watch)
    found = validation_ndcg(recommender, data)
    new = evaluate(recommender, data.validation, k=K, candidates="cold")
    towers = recommender.served.towers
    inputs = encoded_width(towers.item_tower)
    return CompileOutcome(
        "id_only" if reads == "id" else "knows_new_items",
        {"new": new.metrics[NDCG], "new_items": new.num_items, "reads": reads, "ndcg": found},
        node=BuiltNode(
            shapes=(("encoded features", f"(N, {inputs})"), ("item vectors", "(N, 16)")),
            params=count(towers.item_tower)
            + (0 if towers.cold_tower is None else count(towers.cold_tower)),
        ),
        ndcg=found,
        figures=(
            Figure(
                "ndcg@10",
                (("all items", found), ("new items among themselves", new.metrics[NDCG])),
            ),
        ),
    )
