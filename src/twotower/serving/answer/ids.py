"""Raw ids that a caller gives, one or many, and answers as a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.arrays.ranked import NO_ITEM, PATHS, Ranked
from twotower.data.dataset.entities import EntityTable
from twotower.data.values.ids import id_series
from twotower.errors import NotFoundError, explain, nearest
from twotower.serving.answer.recommendation import Recommendation
from twotower.serving.store.protocol import Id

Ids = Sequence[Id] | NDArray[Any] | pl.Series

HINT_IDS = 10_000
"""Ids among which an error looks for the nearest one: among a million it would take seconds."""


def listed(ids: Id | Ids) -> tuple[list[Id], bool]:
    """One raw id or several as a list of plain values, and whether it was one."""
    if isinstance(ids, str | int | np.integer):
        return [ids if isinstance(ids, str) else int(ids)], True
    return (ids.tolist() if isinstance(ids, np.ndarray) else list(ids)), False


def check_rows(name: str, found: int, wanted: int) -> None:
    """Refuse an argument that has not one row for each user."""
    if found != wanted:
        raise ValueError(
            f"The {name!r} parameter must have a row for each of {wanted} users. Got {found} rows "
            "instead."
        )


def frame_of(answers: Sequence[Recommendation]) -> pl.DataFrame:
    """A row for each recommended item."""
    rows = [
        (answer, rank + 1, item) for answer in answers for rank, item in enumerate(answer.items)
    ]
    return pl.DataFrame(
        {
            "user_id": id_column([answer.user_id for answer, _, _ in rows]),
            "rank": pl.Series([rank for _, rank, _ in rows], dtype=pl.Int64),
            "item_id": id_column([item.item_id for _, _, item in rows]),
            "score": pl.Series([item.score for _, _, item in rows], dtype=pl.Float64),
            "path": pl.Series([answer.path for answer, _, _ in rows], dtype=pl.String),
            "reason": pl.Series([item.reason for _, _, item in rows], dtype=pl.String),
        }
    )


def id_column(ids: Sequence[Id | None]) -> pl.Series:
    """Raw ids as a column: integers where all are, else text."""
    if ids and all(isinstance(one, int) for one in ids):
        return pl.Series(ids, dtype=pl.Int64)
    return id_series([one for one in ids if one is not None])


def nums_of(table: EntityTable, ids: Sequence[Id]) -> NDArray[np.int64]:
    """Nums of raw ids that must be known."""
    nums = table.nums(id_series(ids))
    missing = np.flatnonzero(nums < 0)
    if not len(missing):
        return nums
    first, known = ids[int(missing[0])], table.ids.drop_nulls().head(HINT_IDS).to_list()
    problem = (
        f"no such {table.side}"
        if len(ids) == 1
        else (f"{len(missing):,} of {len(ids):,} {table.side}s are unknown")
    )
    hint = nearest(str(first), [str(one) for one in known])
    raise NotFoundError(explain(problem + hint, column=table.key, value=first))


def frame_of_ranked(
    user_num: NDArray[np.int64], ranked: Ranked, user_ids: pl.Series, item_ids: pl.Series
) -> pl.DataFrame:
    """`user_id, rank, item_id, score, path` of users (Q,), whose ids and those of the items are
    found by number."""
    rows, places = np.nonzero(ranked.item_nums != NO_ITEM)
    return pl.DataFrame(
        {
            "user_id": user_ids.gather(user_num[rows]),
            "rank": places + 1,
            "item_id": item_ids.gather(ranked.item_nums[rows, places]),
            "score": ranked.scores[rows, places],
            "path": pl.Series(PATHS).gather(ranked.path[rows]),
        }
    )
