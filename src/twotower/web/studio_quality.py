"""What is known of a bundle's quality, in the order in which a page shows it."""

from __future__ import annotations

from typing import Any

from twotower.serving.recommender import Recommender


def quality(recommender: Recommender) -> dict[str, Any]:
    """The evaluation of the manifest, the settings that it was made with, what each stage loses.

    Keys that a bundle lacks are null: an older one has no stages, one without a comparison has no
    comparison.
    """
    manifest = recommender.manifest
    metrics: dict[str, Any] = manifest.get("metrics") or {}
    config = recommender.config
    return {
        "created": manifest.get("created"),
        "twotower": manifest.get("twotower"),
        "data": manifest.get("data"),
        "index": {
            "kind": recommender.index.kind,
            "recall": recommender.index_recall,
            "size": len(recommender.index.item_nums),
        },
        "evaluation": metrics or None,
        "stages": metrics.get("stage_losses"),
        "comparison": manifest.get("comparison"),
        "training": {
            "loss": config.retriever.loss,
            "temperature": config.retriever.temperature,
            "embedding_dim": config.retriever.embedding_dim,
            "epochs at most": config.training.epochs,
            "patience": config.training.patience,
            "learning rate": config.training.learning_rate,
            "weight decay": config.training.weight_decay,
            "refit": config.training.refit,
            "seed": config.training.seed,
        },
    }
