"""Held-out rows of a trained model: from a frame or a file to a part that it can be measured on."""

from __future__ import annotations

import polars as pl

from twotower.data.columns import USER_ID
from twotower.data.dataset.dataset import context_columns, number_interactions
from twotower.data.dataset.entities import EntityTable
from twotower.data.dataset.interactions import Interactions
from twotower.data.tables.frames import TableLike, frame_name, to_polars
from twotower.data.tables.interaction_rows import rows_of_frame
from twotower.data.tables.positive_rows import learned_rows
from twotower.data.values.ids import cast_ids
from twotower.errors import DataError, explain
from twotower.serving.answer.recommender import Recommender


def part_of_frame(
    recommender: Recommender, table: TableLike, notes: list[str]
) -> tuple[Recommender, Interactions]:
    """A frame as a test part, read by the config that the model was trained with.

    Args:
        recommender: whose config and tables are used.
        table: with the columns of the training interactions.
        notes: gets a sentence for whatever is left out.

    Returns:
        The recommender with a row for each user of the part, and the part.

    Raises:
        DataError: names row, column, value and fix.
    """
    config, source = recommender.served.config, frame_name("test")
    rows = rows_of_frame(
        to_polars(table, "test"),
        source,
        config.data,
        context=context_columns(config),
        notes=notes,
    )
    positives = learned_rows(rows, config.data, source, notes, table="test").positives
    return part_of_rows(recommender, positives, source)


def part_of_rows(
    recommender: Recommender, rows: pl.DataFrame, source: str | None
) -> tuple[Recommender, Interactions]:
    """As `part_of_frame`, of rows that are checked; `source` is what errors call them."""
    check_user_ids(rows, recommender.users, source)
    users = recommender.users.with_more(rows[USER_ID])
    recommender = Recommender(recommender.served.with_users(users))
    return recommender, number_interactions(rows, users, recommender.items, file=source)


def check_user_ids(rows: pl.DataFrame, users: EntityTable, source: str | None) -> None:
    """Check that not all user ids are text where the model knows integers.

    Raises:
        DataError: names the first one.
    """
    ids = rows[USER_ID]
    if cast_ids(ids, users.ids.dtype).null_count() == len(ids):
        raise DataError(
            explain(
                f"the model was trained on integer user ids, and none of the {len(ids):,} rows "
                "has one",
                file=source,
                column=USER_ID,
                value=ids[0],
                fix="name the column with the user ids of training",
            )
        )
