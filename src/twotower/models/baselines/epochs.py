"""The loop of baselines that are trained epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from twotower.config.baselines import EpochsConfig
from twotower.models.baselines.base import Baseline, Progress, Validate


def run_epochs(
    model: Baseline[Any],
    config: EpochsConfig,
    step: Callable[[int], None],
    *,
    validate: Validate | None,
    progress: Progress | None,
) -> None:
    """Train until all epochs are done or `patience` validations brought no improvement, and set the
    arrays of the best epoch (without validation: of the last one) in the model.

    Ctrl-C stops the training: the best epoch so far is kept and `interrupted` is set. Before the
    end of the first epoch there is nothing to keep, and the `KeyboardInterrupt` propagates.

    Args:
        model: its `arrays` are kept; `best_epoch` is set.
        config: epochs, validate_every, patience.
        step: trains the epoch of this number, from 1.
        validate, progress: as in `Baseline.fit`.
    """
    kept: dict[str, Any] | None = None
    best = -math.inf
    stale = 0
    try:
        for epoch in range(1, config.epochs + 1):
            step(epoch)
            is_last = epoch == config.epochs
            if validate is not None and (epoch % config.validate_every == 0 or is_last):
                metric = validate(model)
                stale += 1
                if kept is None or metric > best or math.isnan(best):
                    best, stale = metric, 0
                    kept, model.best_epoch = copy_of_arrays(model), epoch
            elif validate is None:
                kept, model.best_epoch = copy_of_arrays(model), epoch
            if progress is not None:
                progress(epoch, config.epochs)
            if stale >= config.patience:
                break
    except KeyboardInterrupt:
        if kept is None:
            raise
        model.interrupted = True
    assert kept is not None
    model._take(kept)


def copy_of_arrays(model: Baseline[Any]) -> dict[str, Any]:
    """Copies of the arrays in their present state."""
    return {name: array.copy() for name, array in model.arrays().items()}
