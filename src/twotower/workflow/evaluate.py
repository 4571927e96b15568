"""How good a recommender is on held-out interactions, ranked over the full catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from twotower.data.columns import USER_ID
from twotower.data.dataset import context_columns, number_interactions
from twotower.data.entities import EntityTable, Features
from twotower.data.ids import cast_ids
from twotower.data.interaction_rows import read_interactions
from twotower.data.interactions import Interactions
from twotower.data.lists import Lists
from twotower.data.ranking import PATHS, Ranked
from twotower.errors import DataError, explain
from twotower.evaluation import metrics as m
from twotower.evaluation.report import Candidates, Evaluation, render, summarise
from twotower.evaluation.slices import slice_relevant
from twotower.serving.bundle import held_out_rows
from twotower.serving.recommender import Recommender

__all__ = ["Evaluation", "Ranker", "evaluate", "evaluate_bundle", "render"]

CHUNK = 8192
"""Queries that a ranker is asked at once."""


class Ranker(Protocol):
    """What can be measured: a `Recommender`, a baseline.

    Attributes:
        users, items: the tables that nums count in.
        item_counts: (len(items),) training rows of each item.
    """

    users: EntityTable
    items: EntityTable
    item_counts: NDArray[np.int64]

    @property
    def seen(self) -> Lists:
        """(len(users),) what each user has seen; a user beyond the last list has seen nothing."""
        ...

    def top_k(
        self,
        user_num: NDArray[np.integer],
        k: int,
        *,
        context: Features | None = None,
        mask_seen: bool = True,
        excluded: Lists | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Ranked:
        """See `Recommender.top_k`."""
        ...


def evaluate(
    ranker: Ranker,
    test: Interactions,
    *,
    k: int = 20,
    mask_seen: bool = True,
    candidates: Candidates = "all",
    notes: tuple[str, ...] = (),
) -> Evaluation:
    """Rank the catalogue for each user of a part, and compare with what the user took.

    Users and items that training does not know stay in: a user is answered by the fallback chain,
    an item outside the catalogue is a miss. A relevant item that the user has seen before cannot be
    found while seen items are masked; it stays in the denominator and is counted (the splits of the
    LightGCN data sets have none). A query's context is that of the user's first row in the part.

    Args:
        ranker: what to measure; `ranker.seen` holds what its users have seen, for a test part the
            validation rows, too.
        test: the part, numbered by the ranker's tables; at least one row.
        k: the cut-off.
        mask_seen: leave out what a user has seen.
        candidates: `cold` ranks only items that the part has and training lacks, and only rows of
            such items (and of items outside the catalogue) are relevant; `warm` ranks only items
            that training saw, and only their rows are relevant.
        notes: kept with the figures.

    Raises:
        DataError: no row can be measured on.
        ValueError: k is no count.
    """
    warm_items = ranker.item_counts > 0
    part, allowed = among(candidates, test, warm_items)
    user_num, answer = answer_part(ranker, part, k, mask_seen, allowed)
    relevant = part.by_user().take(user_num)
    warm_users = ranker.users.is_warm(user_num)
    per_query = m.ranking_metrics(answer.item_nums, relevant, k)
    slices = slice_relevant(relevant, warm_users, warm_items)
    per_slice = {
        name: m.ranking_metrics(answer.item_nums, items, k) for name, items in slices.items()
    }
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
        slices=summarise(slices, per_slice, k),
        paths={name: int((answer.path == place).sum()) for place, name in enumerate(PATHS)},
        counts={
            **count_unknown(part, warm_users, warm_items),
            "rows_masked_as_seen": count_repeated(ranker, user_num, relevant) if mask_seen else 0,
            "rows_not_among_the_candidates": len(test) - len(part),
        },
        beyond={
            f"coverage@{k}": m.coverage(answer.item_nums, num_items),
            f"novelty@{k}": m.novelty(answer.item_nums, ranker.item_counts),
            f"gini@{k}": m.gini(answer.item_nums, num_items),
        },
        notes=notes,
        stages=ranker.stage_names if isinstance(ranker, Recommender) else ("retrieve",),
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
    places = torch.from_numpy(rows)
    return {name: column[places] for name, column in part.context.items()} or None


def count_unknown(
    part: Interactions, warm_users: NDArray[np.bool_], warm_items: NDArray[np.bool_]
) -> dict[str, int]:
    """How many rows, and how much of them training does not know.

    Args:
        part: the rows.
        warm_users: (Q,) of each of its users.
        warm_items: (R,) of each item num.
    """
    inside = part.item_num >= 0
    outside = int((~inside).sum())
    cold = int((~warm_items[part.item_num[inside]]).sum())
    return {
        "rows": len(part),
        "users_unknown_to_training": int((~warm_users).sum()),
        "rows_with_items_unknown_to_training": outside + cold,
        "rows_with_items_outside_the_catalogue": outside,
    }


def count_repeated(ranker: Ranker, user_num: NDArray[np.int64], relevant: Lists) -> int:
    """How many relevant items (Q lists) their users (Q,) have seen before."""
    seen = ranker.seen.take(user_num)
    width = len(ranker.items)
    there, wanted = seen.values >= 0, relevant.values >= 0
    seen_keys = seen.keys()[there] * width + seen.values[there]
    wanted_keys = relevant.keys()[wanted] * width + relevant.values[wanted]
    return int(np.isin(wanted_keys, seen_keys).sum())


def evaluate_bundle(path: Path, test_file: str | None = None, k: int | None = None) -> Evaluation:
    """Measure a bundle on its own held-out rows, or on a file of interactions.

    Args:
        path: the bundle.
        test_file: any source that `read_table` reads, with the columns of the training file; its
            users and items that training does not know are counted, never dropped.
        k: the cut-off; `evaluation.k` of the bundle's config where it is not given.

    Raises:
        BundleError: the bundle is damaged.
        DataError: the file is not right, or there are no rows.
    """
    recommender = Recommender.load(path)
    config = recommender.config
    notes: list[str] = []
    if test_file is None:
        rows = held_out_rows(path)
    else:
        rows = read_interactions(
            test_file, config.data, table="test", context=context_columns(config), notes=notes
        )
    if not len(rows):
        raise DataError(
            explain("holds no held-out row to measure on", file=path, fix="give --test FILE")
        )
    check_user_ids(rows, recommender.users, test_file)
    recommender.set_users(recommender.users.with_more(rows[USER_ID]))
    settings = config.evaluation
    return evaluate(
        recommender,
        number_interactions(rows, recommender.users, recommender.items, file=test_file),
        k=settings.k if k is None else k,
        mask_seen=settings.mask_seen,
        candidates=settings.candidates,
        notes=tuple(notes),
    )


def check_user_ids(rows: pl.DataFrame, users: EntityTable, file: str | None) -> None:
    """Refuse user ids none of which can be one of this table: text, where it has integers.

    Raises:
        DataError: names the first one.
    """
    ids = rows[USER_ID]
    if cast_ids(ids, users.ids.dtype).null_count() == len(ids):
        raise DataError(
            explain(
                f"the bundle was trained on integer user ids, and none of the {len(ids):,} rows "
                "has one",
                file=file,
                column=USER_ID,
                value=ids[0],
                fix="name the column with the user ids of training",
            )
        )
