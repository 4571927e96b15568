"""Quality by stage, measured on the held-out rows in a bundle."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from twotower.data.columns import USER_ID
from twotower.data.dataset.dataset import number_interactions
from twotower.errors import NotFoundError, explain
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.bundle import held_out_rows, some_users
from twotower.serving.bundle.served_model import ServedModel
from twotower.workflow.training.stage_report import stage_report

MAX_USERS: Final = 2000
"""Maximum number of held-out users; of more, a random sample is used."""


def stage_quality(
    served: ServedModel, folder: Path, forgotten: Collection[str] = ()
) -> dict[str, Any]:
    """The `stage_report` for the bundle's own held-out rows.

    Args:
        served: a model with a ranker.
        folder: folder of its bundle.
        forgotten: ids, as text, of users whose rows are left out.

    Raises:
        DataError: the bundle has no ranker.
        NotFoundError: it has no held-out rows.
    """
    rows = held_out_rows(folder, forgotten)
    if not len(rows):
        raise NotFoundError(
            explain(
                "the bundle has no held-out rows to measure on",
                file=folder.name,
                fix="train with a test part",
            )
        )
    rows = some_users(rows, MAX_USERS)
    users = served.users.with_more(rows[USER_ID])
    own = Recommender(served.with_users(users))
    test = number_interactions(rows, own.users, own.items)
    return stage_report(own, test, k=served.config.evaluation.k)
