"""A training run on disk: enough to go on exactly where it stopped.

All randomness of a step is a function of (seed, epoch, step), so no generator's state is kept.

One process writes whole tensors as safetensors. Several write their rows of the tables each, by
`torch.distributed.checkpoint`, into a folder that they share. Either can be read by any number of
processes.
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
from twotower.parallel.processes import ONE, ProcessGroup
from twotower.parallel.shards import Shards

FORMAT = 1
PARTS = ("weights", "optimizer", "best", "average", "adjustment")
SHARDED = "shards"
"""Folder of what several processes wrote."""

States = dict[str, dict[str, Tensor]]
"""Part -> name -> tensor; see `PARTS`."""


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


@dataclass(frozen=True)
class Checkpoint:
    """What `save_checkpoint` wrote."""

    progress: Progress
    states: States


def save_checkpoint(
    folder: Path,
    states: States,
    *,
    progress: Progress,
    fingerprint: str,
    shards: dict[str, Shards] | None = None,
    processes: ProcessGroup = ONE,
) -> None:
    """Write a checkpoint, or replace the last one; see `replace_folder`. All processes.

    Args:
        folder: of the checkpoint; created if it is missing. Processes share it.
        states: the state of the model, of the optimiser, of the model at the best validation, of
            the averaged weights, and of what changes the weights between steps, as far as there are
            such.
        progress: how far the run is.
        fingerprint: of config and data; a checkpoint of another run is refused on resume.
        shards: of the tensors of which each process has some rows, by "PART/NAME".
        processes: that train together.
    """
    document = {"format": FORMAT, "fingerprint": fingerprint, "progress": asdict(progress)}
    if processes.are_several:
        from twotower.training.sharded_files import save_shards  # noqa: PLC0415 - slow to import

    def fill(aside: Path) -> None:
        if processes.are_several:
            processes.told(str(aside))
            save_shards(aside / SHARDED, flat(states), shards or {})
        else:
            for part, tensors in states.items():
                save_file(_plain(tensors), aside / f"{part}.safetensors")
        (aside / "progress.json").write_text(json.dumps(document), encoding="utf-8")

    if processes.is_first:
        replace_folder(folder, fill)
    else:
        save_shards(Path(processes.told(None)) / SHARDED, flat(states), shards or {})
    processes.wait()


def load_checkpoint(
    folder: Path,
    *,
    fingerprint: str,
    shards: dict[str, Shards] | None = None,
    processes: ProcessGroup = ONE,
) -> Checkpoint | None:
    """The checkpoint in `folder`, or None where there is none; of tables each process gets its
    rows. All processes.

    Args:
        folder: of the checkpoint.
        fingerprint: of config and data.
        shards: as in `save_checkpoint`; what is not there is left out.
        processes: that train together, as many as wrote it or not.

    Raises:
        TrainingError: it is damaged, of another format, or of another config or data.
    """
    if processes.is_first:
        restore_folder(folder)
    processes.wait()
    if not folder.exists():
        return None
    try:
        document = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
        check_document(document, folder, fingerprint)
        if (folder / SHARDED).is_dir():
            from twotower.training.sharded_files import load_shards  # noqa: PLC0415 - slow to import

            states = nested(load_shards(folder / SHARDED, shards or {}, processes))
        else:
            states = {
                part: load_file(folder / f"{part}.safetensors")
                for part in PARTS
                if part == "weights" or (folder / f"{part}.safetensors").exists()
            }
            for key, own in (shards or {}).items():
                part, _, name = key.partition("/")
                if name in states.get(part, {}):
                    states[part][name] = own.cut(states[part][name])
        return Checkpoint(Progress(**document["progress"]), states)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise TrainingError(
            explain(
                f"this checkpoint is damaged: {error}",
                file=folder,
                fix="train again without --resume",
            )
        ) from error


def check_document(document: dict[str, Any], folder: Path, fingerprint: str) -> None:
    """Refuse a checkpoint of another format, config or data.

    Raises:
        TrainingError: see above.
    """
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


def flat(states: States) -> dict[str, Tensor]:
    """The tensors by "PART/NAME"."""
    return {f"{part}/{name}": t for part, tensors in states.items() for name, t in tensors.items()}


def nested(tensors: dict[str, Tensor]) -> States:
    """The opposite of `flat`."""
    states: States = {}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        states.setdefault(part, {})[name] = tensor
    return states


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
