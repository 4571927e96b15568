"""What a user should know of how a training went."""

from __future__ import annotations

from twotower.config import TrainingConfig
from twotower.training.checkpoint import Progress


def training_warnings(
    progress: Progress, stopped: str, config: TrainingConfig, section: str
) -> tuple[str, ...]:
    """Sentences on overfitting, and on epochs that were too few."""
    validated = [record for record in progress.epochs if len(record) > 3]
    warnings = []
    decay, epochs = "training.weight_decay", "training.epochs"
    if section == "ranker":
        decay, epochs = "ranker.weight_decay", "ranker.epochs"
    if validated and progress.best_epoch:
        last = validated[-1]
        metric = next(name for name in last if name not in ("epoch", "loss", "seconds"))
        best = next(e for e in validated if e["epoch"] == progress.best_epoch)
        fell = 1 - last[metric] / best[metric] if best[metric] > 0 else 0.0
        if last["loss"] < best["loss"] and fell > 0.1:
            warnings.append(
                f"It overfits: after epoch {progress.best_epoch} the training loss still fell, "
                f"from {best['loss']:.3f} to {last['loss']:.3f}, while validation {metric} fell by "
                f"{fell:.0%}. The weights of epoch {progress.best_epoch} are kept. Raise "
                f"{section}.dropout, {decay} or the id dropout of features."
            )
    if validated and stopped == "epochs" and progress.best_epoch == config.epochs:
        warnings.append(
            f"Validation was still getting better at the last of {config.epochs} epochs: raise "
            f"{epochs}."
        )
    return tuple(warnings)
