"""The quality of a bundle, for the Quality view."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from twotower.serving.bundle.bundle import num_held_out
from twotower.serving.bundle.served_model import ServedModel

COMPARISON: Final = "comparison.json"
"""File written by `twotower compare`."""
MAX_BYTES: Final = 32 * 2**20
"""Larger files are not read."""


def quality(
    served: ServedModel, folder: Path | None = None, forgotten: Collection[str] = ()
) -> dict[str, Any]:
    """Evaluation, quality by stage, learning curves, comparison with other models, and settings.

    Bundles of earlier versions have no record of stages and training; `stage_quality` can measure
    the former on request.

    Args:
        served: its manifest is read; missing entries are null.
        folder: the bundle's folder; a comparison is looked for in it and next to it.
        forgotten: ids, as text, of forgotten users. Where the held-out rows have some, `forgotten`
            says how many, and the record of the stages is left out, as it counts them.
    """
    manifest = served.manifest
    counted = 0 if folder is None else num_held_out(folder, forgotten)
    config = served.config
    return {
        "created": manifest.get("created"),
        "twotower": manifest.get("twotower"),
        "data": manifest.get("data"),
        "index": {
            "kind": served.index.kind,
            "recall": served.index_recall,
            "size": len(served.index.item_nums),
        },
        "evaluation": manifest.get("metrics") or None,
        "forgotten": counted,
        "blend": None if served.blend is None else dict(served.blend.report),
        "has_ranker": served.ranker is not None,
        "stages": None if counted else manifest.get("stages"),
        "curves": manifest.get("training") or {},
        "comparison": None if folder is None else comparison_near(folder),
        "training": {
            "loss": config.retriever.loss,
            "temperature": round(float(served.towers.temperature.detach()), 3),
            "embedding_dim": config.retriever.embedding_dim,
            "maximum epochs": config.training.epochs,
            "patience": config.training.patience,
            "learning rate": config.training.learning_rate,
            "weight decay": config.training.weight_decay,
            "refit": config.training.refit,
            "seed": config.training.seed,
        },
    }


def comparison_near(folder: Path) -> dict[str, Any] | None:
    """The newest comparison in a bundle's folder, its parent, or the folders next to it."""
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
