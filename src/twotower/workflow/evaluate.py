"""How good a recommender is on held-out interactions, ranked over the full catalogue."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.distinct import distinct_values
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import FEATURES, PATHS, POPULAR, Ranked
from twotower.data.dataset.entities import EntityTable, Features, taken
from twotower.data.dataset.interactions import Interactions
from twotower.data.tables.frames import TableLike
from twotower.errors import DataError, explain
from twotower.evaluation import metrics as m
from twotower.evaluation.reachability import (
    Reachability,
    already_seen,
    fitting_split,
    ideal_ceiling,
    reachable_ceiling,
)
from twotower.evaluation.report import Candidates, Evaluation, render, summarise_slices
from twotower.evaluation.slices import slice_relevant
from twotower.serving.answer.recommender import Recommender
from twotower.workflow.held_out import part_of_frame

__all__ = ["Evaluation", "Ranker", "evaluate", "render"]

CHUNK = 8192
"""Queries that a ranker is asked at once."""


class Ranker(Protocol):
    """What can be measured: a `Recommender`, a baseline.

    Attributes:
        users, items: the tables that nums count in.
        item_counts: (len(items),) training rows of each item.
    """

    @property
    def users(self) -> EntityTable:
        """See above."""
        ...

    @property
    def items(self) -> EntityTable:
        """See above."""
        ...

    @property
    def item_counts(self) -> NDArray[np.int64]:
        """See above."""
        ...

    @property
    def seen(self) -> Ragged:
        """(len(users),) what each user has seen; a user beyond the last list has seen nothing."""
        ...

    def top_k(
        self,
        user_num: NDArray[np.integer],
        k: int,
        *,
        context: Features | None = None,
        mask_seen: bool = True,
        excluded: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Ranked:
        """See `Recommender.top_k`."""
        ...


def evaluate(
    ranker: Ranker,
    test: Interactions | TableLike,
    *,
    k: int = 20,
    mask_seen: bool = True,
    candidates: Candidates = "all",
    notes: tuple[str, ...] = (),
) -> Evaluation:
    """Rank the catalogue for each user of a test part and compare with the user's test items.

    Users and items that training does not know stay in: a user is answered by the fallback chain,
    an item outside the catalogue is a miss. A relevant item that the user has seen before cannot be
    found while seen items are masked; it stays in the denominator and is counted (the splits of the
    LightGCN data sets have none). A query's context is that of the user's first row in the part.

    >>> found = tt.evaluate(recommender, test, k=10)
    >>> 0 < found.metrics["ndcg@10"] < 1
    True
    >>> import polars as pl
    >>> frame = pl.DataFrame({"user_id": ["u00001", "u00002"], "item_id": ["i00003", "i00004"]})
    >>> tt.evaluate(recommender, frame, k=10).to_frame()["users"].to_list()[0]
    2

    Args:
        ranker: what to measure; `ranker.seen` holds what its users have seen, for a test part the
            validation rows, too.
        test: a part of the dataset, or a frame in memory of any kind that `Dataset.from_frames`
            takes, with the columns of the training interactions (`ranker` must be a `Recommender`
            then). At least one row.
        k: the cut-off.
        mask_seen: leave out what a user has seen.
        candidates: `cold` ranks only items that the part has and training lacks, and only rows of
            such items (and of items outside the catalogue) are relevant; `warm` ranks only items
            that training saw, and only their rows are relevant.
        notes: kept with the figures.

    Raises:
        DataError: no row can be measured on, or the frame is not right.
        TypeError: a frame is given for a ranker that is not a `Recommender`.
        ValueError: k is not a count.
    """
    if not isinstance(test, Interactions):
        if not isinstance(ranker, Recommender):
            raise TypeError(
                f"A {type(ranker).__name__} is evaluated on a part of its dataset, such as "
                f"data.test. Got {type(test).__name__} instead."
            )
        found: list[str] = []
        ranker, test = part_of_frame(ranker, test, found)
        notes = (*notes, *found)
    warm_items = ranker.item_counts > 0
    part, allowed = among(candidates, test, warm_items)
    user_num, answer = answer_part(ranker, part, k, mask_seen, allowed)
    relevant = part.by_user().take(user_num)
    warm_users = ranker.users.is_warm(user_num)
    reach = reach_of(
        part,
        answer.path,
        seen=ranker.seen,
        warm_items=warm_items,
        k=k,
        mask_seen=mask_seen,
    )
    per_query = m.ranking_metrics(answer.item_nums, relevant, k)
    slices = slice_relevant(relevant, warm_users, warm_items)
    per_slice = {
        name: m.ranking_metrics(answer.item_nums, items, k) for name, items in slices.items()
    }
    blend = ranker.served.blend if isinstance(ranker, Recommender) else None
    catalogue = len(ranker.items) - ranker.items.first_known
    num_items = catalogue if allowed is None else int(allowed.sum())
    return Evaluation(
        k=k,
        candidates=candidates,
        num_items=num_items,
        user_num=user_num,
        ranked=answer.item_nums,
        per_query=per_query,
        metrics={name: m.mean(values) or 0.0 for name, values in per_query.items()},
        per_slice=per_slice,
        slices=summarise_slices(slices, per_slice, k),
        paths={name: int((answer.path == place).sum()) for place, name in enumerate(PATHS)},
        counts={
            "rows": reach.rows,
            "users_unknown_to_training": reach.unknown_users,
            "rows_with_items_unknown_to_training": reach.unknown_items,
            "rows_with_items_outside_the_catalogue": reach.outside,
            "rows_masked_as_seen": reach.masked,
            "rows_not_among_the_candidates": len(test) - len(part),
        },
        beyond={
            f"coverage@{k}": m.coverage(answer.item_nums, num_items),
            f"novelty@{k}": m.novelty(answer.item_nums, ranker.item_counts),
            f"gini@{k}": m.gini(answer.item_nums, num_items),
        },
        notes=notes if blend is None else (*notes, blend.sentence),
        reach=reach,
        stages=ranker.served.stage_names if isinstance(ranker, Recommender) else ("retrieve",),
    )


def among(
    candidates: Candidates, test: Interactions, warm_items: NDArray[np.bool_]
) -> tuple[Interactions, NDArray[np.bool_] | None]:
    """The rows to measure on, and (R,) which items are ranked; None for all.

    Raises:
        DataError: there is no such row.
    """
    if not len(test):
        raise DataError(
            explain(
                "there is no test row to measure on", fix="give a larger test part, or --test FILE"
            )
        )
    if candidates == "all":
        return test, None
    inside = test.item_num >= 0
    if candidates == "warm":
        warm = inside.copy()
        warm[inside] = warm_items[test.item_num[inside]]
        if not warm.any():
            raise DataError(
                explain(
                    'evaluation.candidates is "warm", and training saw no item of a test row',
                    fix='set evaluation.candidates = "all"',
                )
            )
        return test.take(np.flatnonzero(warm)), warm_items
    cold = ~inside
    cold[inside] = ~warm_items[test.item_num[inside]]
    allowed = np.zeros(len(warm_items), dtype=np.bool_)
    allowed[test.item_num[cold & inside]] = True
    if not allowed.any():
        raise DataError(
            explain(
                'evaluation.candidates is "cold", and no item of the catalogue is in a test row '
                "and in no training row",
                fix='set evaluation.candidates = "all", or hold items out of training',
            )
        )
    return test.take(np.flatnonzero(cold)), allowed


def answer_part(
    ranker: Ranker,
    part: Interactions,
    k: int,
    mask_seen: bool,
    allowed: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.int64], Ranked]:
    """(Q,) the users of a part, ascending, and what they are answered."""
    users, first_row = np.unique(part.user_num, return_index=True)
    user_num = users.astype(np.int64)
    return user_num, ask(ranker, user_num, k, rows_of(part, first_row), mask_seen, allowed)


def ask(
    ranker: Ranker,
    user_num: NDArray[np.int64],
    k: int,
    context: Features | None,
    mask_seen: bool,
    allowed: NDArray[np.bool_] | None,
) -> Ranked:
    """The answers to Q queries, some thousand at a time.

    Args:
        ranker: asked.
        user_num: (Q,).
        k: the cut-off.
        context: name -> (Q, ...), or None.
        mask_seen, allowed: as in `Ranker.top_k`.
    """
    answers = []
    for start in range(0, len(user_num), CHUNK):
        rows = slice(start, start + CHUNK)
        chosen = None if context is None else {name: c[rows] for name, c in context.items()}
        answers.append(
            ranker.top_k(user_num[rows], k, context=chosen, mask_seen=mask_seen, allowed=allowed)
        )
    columns = zip(*answers, strict=True)
    return Ranked(*(np.concatenate(column) for column in columns))


def rows_of(part: Interactions, rows: NDArray[np.integer]) -> Features | None:
    """The context features of some rows (Q,), None where the schema has none."""
    return taken(part.context, rows) or None


def reach_of(
    part: Interactions,
    path: NDArray[np.int8],
    *,
    seen: Ragged,
    warm_items: NDArray[np.bool_],
    k: int,
    mask_seen: bool,
) -> Reachability:
    """What of a part can be found, and whom of it training knows.

    Args:
        part: the rows.
        path: (Q,) how each of its users, ascending, is answered.
        seen: (len(users),) what each user has seen.
        warm_items: (R,) of each item num, whether training saw it.
        k: the cut-off.
        mask_seen: whether a user is never shown again what the user has seen.
    """
    user_num = distinct_values(part.user_num).astype(np.int64)
    relevant = part.by_user().take(user_num)
    unknown = ~part.users.is_warm(user_num)
    inside = part.item_num >= 0
    masked = np.zeros(len(relevant.values), dtype=np.bool_)
    if mask_seen:
        masked = already_seen(relevant, seen.take(user_num))
    rows = np.bincount(part.user_num, minlength=len(part.users))
    rows[: len(seen)] += seen.lengths
    outside = int((~inside).sum())
    return Reachability(
        k=k,
        users=len(user_num),
        unknown_users=int(unknown.sum()),
        fallback_users=int((unknown & np.isin(path, (FEATURES, POPULAR))).sum()),
        rows=len(part),
        unknown_items=outside + int((~warm_items[part.item_num[inside]]).sum()),
        outside=outside,
        masked=int(masked.sum()),
        ceiling=reachable_ceiling(relevant, ~masked, k),
        without_limit=ideal_ceiling(relevant, k),
        fitting_split=fitting_split(rows, has_times=part.timestamp is not None),
    )
