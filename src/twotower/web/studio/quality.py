"""What is known of a bundle's quality, in the order in which a page shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from twotower.serving.answer.recommender import Recommender

COMPARISON: Final = "comparison.json"
"""What `twotower compare` writes."""
MAX_BYTES: Final = 32 * 2**20
"""A larger file is no comparison."""


def quality(recommender: Recommender, folder: Path | None = None) -> dict[str, Any]:
    """The evaluation of the manifest, what each stage keeps, the curves of training, the comparison
    with other models, and the settings behind them. Bundles of earlier versions tell nothing of
    stages and training; `stages.py` measures the former when it is asked for.

    Args:
        recommender: its manifest is read; what it lacks is null.
        folder: the bundle's; a comparison is looked for in it and beside it.
    """
    manifest = recommender.served.manifest
    config = recommender.served.config
    return {
        "created": manifest.get("created"),
        "twotower": manifest.get("twotower"),
        "data": manifest.get("data"),
        "index": {
            "kind": recommender.served.index.kind,
            "recall": recommender.served.index_recall,
            "size": len(recommender.served.index.item_nums),
        },
        "evaluation": manifest.get("metrics") or None,
        "has_ranker": recommender.served.ranker is not None,
        "stages": manifest.get("stages"),
        "curves": manifest.get("training") or {},
        "comparison": None if folder is None else comparison_near(folder),
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


def comparison_near(folder: Path) -> dict[str, Any] | None:
    """The newest comparison in a bundle's folder, beside it, or in a folder beside it."""
    places = [folder, folder.parent, *(p for p in folder.parent.iterdir() if p.is_dir())]
    files = [place / COMPARISON for place in places]
    there = [file for file in files if file.is_file() and file.stat().st_size <= MAX_BYTES]
    for file in sorted(there, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(document, dict) and isinstance(document.get("models"), list):
            return {**document, "file": f"{file.parent.name}/{file.name}"}
    return None
