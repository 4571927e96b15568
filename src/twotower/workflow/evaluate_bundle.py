"""`twotower evaluate`: a bundle and the baselines on held-out rows."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from twotower.data.columns import USER_ID
from twotower.data.dataset.dataset import context_columns
from twotower.data.tables.interaction_rows import read_interactions
from twotower.errors import DataError, explain
from twotower.evaluation.report import Evaluation
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.bundle import held_out_rows, without_users
from twotower.workflow.evaluate import evaluate
from twotower.workflow.held_out import part_of_rows
from twotower.workflow.training.reference_models import (
    fit_references,
    training_rows,
    with_baselines,
)


def evaluate_bundle(
    path: Path,
    test_file: str | None = None,
    k: int | None = None,
    *,
    forgotten: Collection[str] = (),
    verify_key: Path | None = None,
) -> Evaluation:
    """Measure a bundle on its own held-out rows, or on a file of interactions, with the baselines.

    Args:
        path: the bundle.
        test_file: any source that `read_table` reads, with the columns of the training file; its
            users and items that training does not know are counted, never dropped.
        k: the cut-off; `evaluation.k` of the bundle's config where it is not given.
        forgotten: ids, as text, of users whose rows are left out; a note counts them.
        verify_key: as in `Recommender.load`.

    Raises:
        BundleError: the bundle is damaged.
        DataError: the file is not right, or there are no rows.
    """
    recommender = Recommender.load(path, verify_key=verify_key)
    config = recommender.served.config
    notes: list[str] = []
    if test_file is None:
        rows = held_out_rows(path)
    else:
        rows = read_interactions(
            test_file, config.data, table="test", context=context_columns(config), notes=notes
        )
    every, rows = rows, without_users(rows, forgotten)
    if left_out := len(every) - len(rows):
        gone = every[USER_ID].n_unique() - rows[USER_ID].n_unique()
        notes.append(
            f"{left_out:,} test row{'s' * (left_out > 1)} of {gone:,} forgotten "
            f"user{'s' * (gone > 1)} left out."
        )
    if not len(rows):
        raise DataError(
            explain("holds no held-out row to measure on", file=path, fix="give --test FILE")
        )
    recommender, test = part_of_rows(recommender, rows, test_file)
    settings = config.evaluation
    evaluation = evaluate(
        recommender,
        test,
        k=settings.k if k is None else k,
        mask_seen=settings.mask_seen,
        candidates=settings.candidates,
        notes=tuple(notes),
    )
    measured: dict[str, Any] = recommender.served.manifest.get("metrics") or {}
    learned = training_rows(recommender)
    references = fit_references(
        learned, measured.get("baseline_settings", {}), queries=len(evaluation.user_num)
    )
    return with_baselines(
        evaluation,
        references.knowing(learned, recommender.served.seen),
        test,
        mask_seen=settings.mask_seen,
        candidates=settings.candidates,
        split=measured.get("split") if test_file is None else None,
    )
