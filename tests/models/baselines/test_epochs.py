"""The loop of epochs: the best one is kept, patience, Ctrl-C."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.contracts.model_contract import TRAIN
from twotower.config.baselines import EpochsConfig, IALSConfig
from twotower.models.baselines import IALS, Baseline
from twotower.models.baselines.epochs import run_epochs


def fitted(epochs: int, **others: Any) -> IALS:
    return IALS.fit(TRAIN, IALSConfig(embedding_dim=3, epochs=epochs, patience=2), **others)


def figures(values: list[float]) -> Any:
    """A validation that gives these figures, one after the other."""
    left = iter(values)
    return lambda model: next(left)


def test_without_a_validation_the_last_epoch_is_kept() -> None:
    model = fitted(4)
    assert model.best_epoch == 4
    assert not model.interrupted


def test_the_best_epoch_is_kept_and_patience_ends_the_rest() -> None:
    told: list[tuple[int, int]] = []
    model = fitted(
        9,
        validate=figures([0.1, 0.3, 0.3, 0.2]),
        progress=lambda done, total: told.append((done, total)),
    )
    assert model.best_epoch == 2
    assert told == [(1, 9), (2, 9), (3, 9), (4, 9)]
    assert np.array_equal(model.item_vectors, fitted(2).item_vectors)


def test_validations_come_every_so_many_epochs_and_after_the_last() -> None:
    config = IALSConfig(embedding_dim=3, epochs=7, validate_every=3)
    asked: list[Baseline[Any]] = []

    def validate(model: Baseline[Any]) -> float:
        asked.append(model)
        return float(len(asked))

    model = IALS.fit(TRAIN, config, validate=validate)
    assert len(asked) == 3
    assert model.best_epoch == 7


def test_not_a_number_is_no_better_than_anything() -> None:
    assert fitted(3, validate=figures([float("nan"), 0.1, 0.0])).best_epoch == 2


def test_ctrl_c_keeps_the_best_so_far() -> None:
    def validate(model: Baseline[Any]) -> float:
        validate.calls += 1  # type: ignore[attr-defined]
        if validate.calls == 4:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return -float(validate.calls)  # type: ignore[attr-defined]

    validate.calls = 1  # type: ignore[attr-defined]
    model = IALS.fit(TRAIN, IALSConfig(embedding_dim=3, epochs=9, patience=5), validate=validate)
    assert model.interrupted
    assert model.best_epoch == 1
    assert np.array_equal(model.item_vectors, fitted(1).item_vectors)


def test_ctrl_c_before_there_is_anything_to_keep() -> None:
    def step(epoch: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_epochs(fitted(1), EpochsConfig(), step, validate=None, progress=None)
