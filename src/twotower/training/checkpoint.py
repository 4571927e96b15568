"""A training run on disk: enough to go on exactly where it stopped.

All randomness of a step is a function of (seed, epoch, step), so no generator's state is kept.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from twotower.atomic import replace_folder, restore_folder
from twotower.errors import TrainingError, explain

FORMAT = 1


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        epoch: epochs completed.
        step: steps completed in the current epoch.
        loss_sum, num_targets: of the current epoch.
        best_epoch: epochs completed at the best validation; 0 before the first.
        best_metric: the best validation metric.
        stale: validations since then.
        epochs: the record of each completed epoch.
        seconds: time spent training, validation included, over all runs.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    num_targets: int = 0
    best_epoch: int = 0
    best_metric: float = float("-inf")
    stale: int = 0
    epochs: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


def save_checkpoint(
    folder: Path,
    *,
    progress: Progress,
    weights: dict[str, Tensor],
    best: dict[str, Tensor] | None,
    optimizer: dict[str, Tensor],
    average: dict[str, Tensor] | None = None,
    adjustment: dict[str, Tensor] | None = None,
    fingerprint: str,
) -> None:
    """Write a checkpoint, or replace the last one; see `replace_folder`.

    Args:
        folder: of the checkpoint; created if it is missing.
        progress: how far the run is.
        weights: the model's state.
        best: the model's state at the best validation, if there was one.
        optimizer: the optimiser's state.
        average: the state of the averaged weights, if they are averaged.
        adjustment: the state of what changes the weights between steps, if something does.
        fingerprint: of config and data; a checkpoint of another run is refused on resume.
    """
    states = {
        "weights": weights,
        "optimizer": optimizer,
        "best": best,
        "average": average,
        "adjustment": adjustment,
    }
    document = {"format": FORMAT, "fingerprint": fingerprint, "progress": asdict(progress)}

    def fill(aside: Path) -> None:
        for name, tensors in states.items():
            if tensors is not None:
                save_file(_plain(tensors), aside / f"{name}.safetensors")
        (aside / "progress.json").write_text(json.dumps(document), encoding="utf-8")

    replace_folder(folder, fill)


@dataclass(frozen=True)
class Checkpoint:
    """What `save_checkpoint` wrote."""

    progress: Progress
    weights: dict[str, Tensor]
    best: dict[str, Tensor] | None
    optimizer: dict[str, Tensor]
    average: dict[str, Tensor] | None
    adjustment: dict[str, Tensor] | None


def load_checkpoint(folder: Path, *, fingerprint: str) -> Checkpoint | None:
    """The checkpoint in `folder`, or None where there is none.

    Raises:
        TrainingError: it is damaged, of another format, or of another config or data.
    """
    restore_folder(folder)
    if not folder.exists():
        return None
    try:
        document = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
        best, average, adjustment = (
            folder / f"{name}.safetensors" for name in ("best", "average", "adjustment")
        )
        if document["format"] != FORMAT:
            raise TrainingError(
                explain(
                    "this checkpoint has another format",
                    file=folder,
                    value=document["format"],
                    fix="train again without --resume",
                )
            )
        if document["fingerprint"] != fingerprint:
            raise TrainingError(
                explain(
                    "this checkpoint belongs to another config or other data",
                    file=folder,
                    fix="restore the config and the data, or train again without --resume",
                )
            )
        return Checkpoint(
            Progress(**document["progress"]),
            load_file(folder / "weights.safetensors"),
            load_file(best) if best.exists() else None,
            load_file(folder / "optimizer.safetensors"),
            load_file(average) if average.exists() else None,
            load_file(adjustment) if adjustment.exists() else None,
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise TrainingError(
            explain(
                f"this checkpoint is damaged: {error}",
                file=folder,
                fix="train again without --resume",
            )
        ) from error


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
